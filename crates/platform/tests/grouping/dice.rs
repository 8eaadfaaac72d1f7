//! What differs from one variant of a kind to the next.

use lambda_queue::Random as _;
use lambda_queue::memory::World;

/// A world's dice.
#[derive(Clone)]
pub struct Dice(pub World);

impl Dice {
    pub fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    pub fn one_of<T: Copy>(&self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    /// Small letters, so many or up to so many.
    pub fn word(&self, least: u64, most: u64) -> String {
        let length = least + self.below(most - least + 1);
        (0..length).map(|_| char::from(b'a' + u8::try_from(self.below(26)).unwrap())).collect()
    }

    /// Some words.
    pub fn text(&self) -> String {
        (0..2 + self.below(6)).map(|_| self.word(2, 9)).collect::<Vec<_>>().join(" ")
    }

    pub fn sku(&self) -> String {
        format!("{}-{}", self.word(3, 5), self.word(1, 4)).to_uppercase()
    }

    /// The id of an order that there is not.
    pub fn order_id(&self) -> String {
        let part = |digits: u32| format!("{:0width$x}", self.below(16_u64.pow(digits)), width = digits as usize);
        format!("{}-{}-8{}-a{}-{}", part(8), part(4), part(3), part(3), part(12))
    }
}
