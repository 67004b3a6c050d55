//! The laws of bytes: what was written is read again, and equal states are written alike.

use crate::{
    ability::show,
    checks::{Checker, Known},
    law::Law,
    subject::Subject,
};

impl<S: Subject> Checker<'_, S> {
    /// What serde's formats make of a state.
    pub(crate) fn bytes(&mut self, a: &Known<'_, S::State>) {
        let Some(serde) = &self.abilities.serde else { return };
        let name = a.label;
        let check = |check: &mut Self, decoded: Result<S::State, String>, format: &str| {
            let holds = decoded.as_ref().is_ok_and(|back| back == a.state);
            check.holds(
                Law::SerdeRoundTrip,
                holds,
                (&|| format!("{name} after {format}"), &|| decoded.as_ref().map_or_else(String::clone, show)),
                (&|| name.to_string(), &|| show(a.state)),
            );
            decoded.ok()
        };
        self.doing("encoding {0}", &[name]);
        let encoded = match (serde.encode)(a.state) {
            Ok(encoded) => encoded,
            Err(error) => {
                check(self, Err(error), "encoding");
                return;
            }
        };
        self.doing("decoding {0} from JSON", &[name]);
        let back = check(self, (serde.decode_json)(&encoded.json), "JSON");
        if let Some(back) = &back {
            self.invariant(back, &|| format!("{name} after JSON"));
        }
        self.doing("decoding {0} from postcard", &[name]);
        let back = check(self, (serde.decode)(&encoded.bytes), "postcard");
        if let Some(back) = &back {
            self.invariant(back, &|| format!("{name} after postcard"));
        }
        self.doing("encoding {0} again, decoded", &[name]);
        if let Some(Ok(again)) = back.filter(|back| back == a.state).map(|back| (serde.encode)(&back)) {
            let equal = again.bytes == encoded.bytes && again.json == encoded.json;
            self.holds(
                Law::CanonicalBytes,
                equal,
                (&|| format!("bytes of {name}"), &|| format!("{:?} {}", encoded.bytes, encoded.json)),
                (&|| format!("bytes of {name} decoded"), &|| format!("{:?} {}", again.bytes, again.json)),
            );
        }
    }

    /// What the compact binary form makes of it.
    pub(crate) fn binary(&mut self, a: &Known<'_, S::State>) {
        let Some(binary) = &self.abilities.binary else { return };
        let name = a.label;
        self.doing("writing {0} in binary form", &[name]);
        let bytes = (binary.encode)(a.state);
        self.doing("reading {0} from its binary form", &[name]);
        let back = (binary.decode)(&bytes);
        self.holds(
            Law::WireRoundTrip,
            back.as_ref().is_ok_and(|back| back == a.state),
            (&|| format!("{name} after {bytes:?}"), &|| back.as_ref().map_or_else(ToString::to_string, show)),
            (&|| name.to_string(), &|| show(a.state)),
        );
        if let Ok(back) = &back {
            self.invariant(back, &|| format!("{name} after its binary form"));
        }
        self.doing("reading {0} from a binary form that is too short or too long", &[name]);
        let short =
            (1..=bytes.len()).step_by(1 + bytes.len() / 16).map(|by| bytes[..bytes.len() - by].to_vec());
        for wrong in short.chain([0, 1].map(|more| [&bytes[..], &[more]].concat())) {
            let read = (binary.decode)(&wrong);
            self.record(Law::WireExtent, read.is_err(), || {
                let read = read.as_ref().map_or_else(ToString::to_string, show);
                vec![
                    (format!("{wrong:?} is read as"), read),
                    (format!("the bytes of {name}"), format!("{bytes:?}")),
                ]
            });
        }
    }

    /// Equal states in every form.
    pub(crate) fn same_bytes(&mut self, a: &Known<'_, S::State>, b: &Known<'_, S::State>) {
        let (l, r) = (a.label, b.label);
        self.doing("encoding {0} and {1}", &[l, r]);
        if let Some(binary) = &self.abilities.binary {
            let (left, right) = ((binary.encode)(a.state), (binary.encode)(b.state));
            self.holds(
                Law::CanonicalBytes,
                left == right,
                (&|| format!("binary form of {l}"), &|| format!("{left:?}")),
                (&|| format!("binary form of {r}, an equal state"), &|| format!("{right:?}")),
            );
        }
        let Some(serde) = &self.abilities.serde else { return };
        let (Ok(left), Ok(right)) = ((serde.encode)(a.state), (serde.encode)(b.state)) else { return };
        self.holds(
            Law::CanonicalBytes,
            left.bytes == right.bytes && left.json == right.json,
            (&|| format!("bytes of {l}"), &|| format!("{:?} {}", left.bytes, left.json)),
            (&|| format!("bytes of {r}, an equal state"), &|| format!("{:?} {}", right.bytes, right.json)),
        );
    }
}
