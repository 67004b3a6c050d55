use mesh_proto::{Dot, Receipt, VersionVector};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{error::Error, fmt, str::FromStr};

/// What a client has written or seen: whoever shows it at a leader is shown at least that much.
///
/// Its text form is a list of dots, as in `00000000000000a1:17,00000000000000b2:4`. What is visible is causally closed, so
/// the one dot of a write stands for the write and all that its leader had seen before it: a write's dot is its token,
/// of the same size however many leaders there are. What a read has seen takes a dot for each leader.
///
/// ```
/// use mesh::{ReplicaId, Token};
///
/// let token: Token = "00000000000000a1:17".parse()?;
/// assert_eq!(token.vector().get(ReplicaId::new(0xa1)), 17);
/// assert_eq!(token.to_string(), "00000000000000a1:17");
/// # Ok::<(), mesh::TokenError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token(VersionVector);

/// A text is not a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenError(String);

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a token, as in 00000000000000a1:17,00000000000000b2:4", self.0)
    }
}

impl Error for TokenError {}

impl Token {
    /// What the leader that shows it must have.
    pub fn vector(&self) -> &VersionVector {
        &self.0
    }
}

impl From<VersionVector> for Token {
    fn from(vector: VersionVector) -> Self {
        Token(vector)
    }
}

/// The write's own dot; of a write that had nothing to do, all that its leader had seen.
impl From<&Receipt> for Token {
    fn from(receipt: &Receipt) -> Self {
        match receipt.events {
            0 => Token(receipt.token.clone()),
            _ => Token([(receipt.replica, receipt.last)].into_iter().collect()),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (replica, counter)) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{}", Dot::new(replica, counter))?;
        }
        Ok(())
    }
}

/// Dots, or the version vector as JSON that a status or a receipt has. An empty text is the token of having seen nothing.
impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let wrong = || TokenError(text.chars().take(80).collect());
        if text.starts_with('{') {
            return serde_json::from_str(text).map(Token).map_err(|_| wrong());
        }
        let mut vector = VersionVector::new();
        for dot in text.split(',').filter(|_| !text.is_empty()) {
            let dot: Dot = dot.parse().map_err(|_| wrong())?;
            vector.advance(dot);
        }
        Ok(Token(vector))
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_were_written_and_nothing_else_is() {
        for text in ["", "00000000000000a1:17", "00000000000000a1:17,00000000000000b2:4"] {
            assert_eq!(text.parse::<Token>().unwrap().to_string(), text);
        }
        let json: Token = r#"{"00000000000000a1":17}"#.parse().unwrap();
        assert_eq!(json.to_string(), "00000000000000a1:17");
        for bad in [
            "17",
            "a1",
            ",",
            "00000000000000a1:17,",
            "00000000000000a1:0",
            "00000000000000a1:-1",
            "{",
            "{\"z\":1}",
        ] {
            let why = bad.parse::<Token>().unwrap_err().to_string();
            assert!(why.contains("is not a token"), "{bad}: {why}");
        }
    }
}
