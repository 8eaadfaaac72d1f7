//! Standard output: lines one by one, or those of a stretch of work in one write.
//!
//! A write into the pipe that Lambda reads from wakes its reader, which costs more than making the line. So what a batch
//! loop says at its end goes out together.

use std::cell::RefCell;
use std::io::{self, Write as _};

/// Most bytes that are kept back: under what a pipe of Linux holds (64 KiB).
const MOST: usize = 32 * 1024;

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    lines: u64,
    lost: u64,
    why: Option<io::Error>,
}

impl Kept {
    fn write(&mut self) {
        if let Err(error) = now(&self.bytes) {
            self.lost += self.lines;
            self.why = Some(error);
        }
        self.bytes.clear();
        self.lines = 0;
    }
}

/// Lines that could not be written, and why.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) lines: u64,
    pub(crate) why: io::Error,
}

/// Writes a whole line, its end included; inside [`together`] it is kept until that ends, and cannot fail.
pub(crate) fn line(line: &[u8]) -> io::Result<()> {
    let kept = KEPT.try_with(|kept| {
        let mut kept = kept.try_borrow_mut().ok()?;
        let kept = kept.as_mut()?;
        if kept.bytes.len() + line.len() > MOST {
            kept.write();
        }
        kept.bytes.extend_from_slice(line);
        kept.lines += 1;
        Some(())
    });
    if matches!(kept, Ok(Some(()))) { Ok(()) } else { now(line) }
}

fn now(bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() { Ok(()) } else { io::stdout().lock().write_all(bytes) }
}

/// Runs `work`, whose lines go out in their order as one write of at most 32 KiB each, also where it panics. `lost` is told
/// of those that could not be written. Inside another one it only runs: the outer one writes.
pub(crate) fn together<T>(lost: impl FnOnce(Lost), work: impl FnOnce() -> T) -> T {
    let begun = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        let outermost = kept.is_none();
        if outermost {
            *kept = Some(Kept::default());
        }
        outermost
    });
    if !matches!(begun, Ok(true)) {
        return work();
    }
    let _end = End(Some(lost));
    work()
}

struct End<L: FnOnce(Lost)>(Option<L>);

impl<L: FnOnce(Lost)> Drop for End<L> {
    fn drop(&mut self) {
        let kept = KEPT.try_with(|kept| kept.borrow_mut().take()).ok().flatten();
        let Some(mut kept) = kept else { return };
        kept.write();
        if let (Some(tell), Some(why)) = (self.0.take(), kept.why) {
            tell(Lost { lines: kept.lost, why });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_kept() -> Option<u64> {
        KEPT.with(|kept| kept.borrow().as_ref().map(|kept| kept.lines))
    }

    #[test]
    fn lines_are_kept_to_the_end_of_the_outermost_stretch_and_never_beyond_it() {
        assert_eq!(lines_kept(), None);
        together(
            |lost| panic!("{lost:?}"),
            || {
                line(b"\n").unwrap();
                together(|lost| panic!("{lost:?}"), || line(b"\n").unwrap());
                assert_eq!(lines_kept(), Some(2));
                // What has no room makes room first.
                let mut long = vec![b' '; MOST];
                long.push(b'\n');
                line(&long).unwrap();
                assert_eq!(lines_kept(), Some(1));
            },
        );
        assert_eq!(lines_kept(), None);
    }

    #[test]
    fn a_panic_keeps_no_lines_back() {
        let work = || together(|_| (), || -> () { panic!("in the middle") });
        assert!(std::panic::catch_unwind(work).is_err());
        assert_eq!(lines_kept(), None);
    }
}
