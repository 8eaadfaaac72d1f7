//! What several tries of one write say together.

use super::store::StoreError;

/// The tries of one write. Once the answer of one was lost the write may be done, whatever a later try is told that was not
/// taken itself: a throttle says nothing of the try before it. Only an answer ends the doubt.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// What was said of the last answer that was lost.
    lost: Option<String>,
}

impl Tries {
    /// What all tries so far say, this one the last of them.
    pub(crate) fn judge<T>(&mut self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(StoreError::Unknown(why)) => {
                self.lost = Some(why.clone());
                return Err(StoreError::Unknown(why));
            }
            Err(error @ (StoreError::NotDone(_) | StoreError::Unreadable(_))) => error,
        };
        let Some(lost) = &self.lost else { return Err(error) };
        tracing::debug!(%error, "not taken, but the answer of an earlier try was lost: the doubt stays");
        Err(StoreError::Unknown(lost.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_ends_a_doubt() {
        let lost = || Err::<u8, _>(StoreError::Unknown("reset".to_owned()));
        let not_done = || Err::<u8, _>(StoreError::NotDone("throttled".to_owned()));
        let mut tries = Tries::default();
        assert_eq!(tries.judge(not_done()), not_done(), "no doubt yet");
        assert_eq!(tries.judge(lost()), lost());
        assert_eq!(tries.judge(not_done()), lost());
        assert_eq!(tries.judge(Err::<u8, _>(StoreError::Unreadable("odd".to_owned()))), lost());
        assert_eq!(tries.judge(Ok(7)), Ok(7));
    }
}
