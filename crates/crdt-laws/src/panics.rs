//! Panics of the type under test: caught, and told as findings instead of printed.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// How many [`catch`]es this thread is in.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic was that one of them caught.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `run`; if it panics, nothing is printed, and what the panic said and where comes back.
///
/// The caller vouches that what a panic left half done is not looked at again.
pub(crate) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // The hook is one for all threads. It is put in place once, stays, and passes on what other threads, and this one
    // at other times, have to say: to take it out again would race with those who set hooks of their own.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CATCHING.try_with(Cell::get).unwrap_or(0) == 0 {
                others(info);
            } else {
                PLACE.set(info.location().map(ToString::to_string));
            }
        }));
    });
    CATCHING.set(CATCHING.get() + 1);
    let outcome = panic::catch_unwind(AssertUnwindSafe(run));
    CATCHING.set(CATCHING.get() - 1);
    outcome.map_err(|panic| {
        let place = PLACE.take().map_or_else(String::new, |place| format!(", at {place}"));
        format!("{:?}{place}", said(panic.as_ref()))
    })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    #[test]
    fn only_what_is_caught_is_silent() {
        static HEARD: AtomicU32 = AtomicU32::new(0);
        let before = panic::take_hook();
        panic::set_hook(Box::new(|_| {
            HEARD.fetch_add(1, Ordering::Relaxed);
        }));
        let caught =
            catch(|| catch(|| panic!("inner")).unwrap_or_else(|inner| panic!("outer, after {inner}")));
        let elsewhere = catch(|| thread::spawn(|| panic!("in another thread")).join().is_err());
        let afterwards = panic::catch_unwind(|| panic!("afterwards")).is_err();
        let heard = HEARD.load(Ordering::Relaxed);
        panic::set_hook(before);
        let caught: String = caught.map(|(): ()| ()).unwrap_err();
        assert!(caught.contains("outer, after") && caught.contains("panics.rs:"), "{caught}");
        assert_eq!((elsewhere, afterwards, heard), (Ok(true), true, 2));
    }
}
