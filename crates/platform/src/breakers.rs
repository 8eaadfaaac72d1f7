//! Providers behind their breakers: rows of the table `breakers`, one a dependency.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use lambda_queue::Failure;
use lambda_queue::breaker::{
    DistributedBreaker, DistributedSettings, InvalidSettings, Logged, Moved, Outcome, Probes, Row, Thresholds,
};
use lambda_queue::meter;
use order::{Email, Money, OrderId, PaymentId, Shipment};
use ports::{
    Captured, Carrier, Confirmation, Created, Dependency, Gate, Mail, NewPayment, PaymentView, Payments, ProbeBreakers,
    ProviderError, ReadBreakers, SendMail, ShipmentAnswer, ShipmentRequest, StoreError, Terms, Voided,
};

use crate::{Backend, Platform};

/// How long a process goes by the row that it has read, milliseconds, while that is closed.
const CACHE_MS: u64 = 5_000;
/// A call over this is slow, and half of them being slow opens the breaker, milliseconds. A call ends after 5 s.
pub const SLOW_CALL_MS: u64 = 4_000;
/// The longest wait for the table of whoever has time, milliseconds.
const PATIENT_MS: u64 = 3_000;

/// A breaker over the platform's own table.
pub type Breaker<B> = DistributedBreaker<Platform<B>, Platform<B>>;

/// The settings that everybody shares who shares the table `table`: 50 % of at least 20 calls in 30 s, no call is a probe,
/// one good probe closes, waits of 5 s doubling to 30 s.
pub fn breaker_settings(table: &str) -> DistributedSettings {
    DistributedSettings {
        thresholds: Thresholds { slow_call_ms: SLOW_CALL_MS, ..Thresholds::default() },
        probes: Probes::Apart { successes: 1 },
        cache_ms: CACHE_MS,
        ..DistributedSettings::new(table)
    }
}

/// The breaker of a dependency.
///
/// # Errors
/// Never with these settings.
pub fn breaker<B: Backend>(platform: &Arc<Platform<B>>, dependency: Dependency) -> Result<Breaker<B>, InvalidSettings> {
    with(platform, dependency, breaker_settings(&platform.names.breakers_table))
}

fn with<B: Backend>(
    platform: &Arc<Platform<B>>,
    dependency: Dependency,
    settings: DistributedSettings,
) -> Result<Breaker<B>, InvalidSettings> {
    let (store, ports) = (Arc::clone(platform), Arc::clone(platform));
    Ok(DistributedBreaker::new(dependency.name(), settings, store, ports)?.observed(Logged))
}

/// What an answer of a provider says of the provider: any answer says that it is there, also one that says no.
pub fn outcome<T>(result: &Result<T, ProviderError>) -> Outcome {
    match result {
        Ok(_) | Err(ProviderError::WrongState { .. } | ProviderError::Refused { .. }) => Outcome::Success,
        // We are too fast; it is well.
        Err(ProviderError::Throttled { .. }) => Outcome::Ignored,
        Err(ProviderError::NotRun { .. } | ProviderError::Unknown { .. } | ProviderError::Failed { .. }) => {
            Outcome::Failure
        }
    }
}

/// A provider whose calls are counted, and whose effects begin only while its breaker is closed.
pub struct Guarded<T, B> {
    provider: Arc<T>,
    breaker: Breaker<B>,
}

impl<T, B> fmt::Debug for Guarded<T, B> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Guarded").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl<T: Send + Sync, B: Backend> Guarded<T, B> {
    /// This provider, behind this dependency's breaker.
    ///
    /// # Errors
    /// Never with the settings that there are.
    pub fn new(provider: Arc<T>, platform: &Arc<Platform<B>>, dependency: Dependency) -> Result<Self, InvalidSettings> {
        Ok(Self { provider, breaker: breaker(platform, dependency)? })
    }

    /// The breaker.
    pub fn breaker(&self) -> &Breaker<B> {
        &self.breaker
    }

    async fn counted<V>(
        &self,
        call: impl Future<Output = Result<V, ProviderError>> + Send,
    ) -> Result<V, ProviderError> {
        let pass = self.breaker.begin();
        let result = call.await;
        apart(pass.finish(outcome(&result))).await;
        result
    }
}

/// Counts the calls of breakers under a name of their own: they are no order's, but its process's.
async fn apart<V>(work: impl Future<Output = V>) -> V {
    meter::apart("breakers", work).await
}

impl<T: Send + Sync, B: Backend> Gate for Guarded<T, B> {
    async fn gate(&self) -> Result<(), Failure> {
        apart(self.breaker.check()).await.map_err(Failure::from)
    }
}

impl<T: Payments + Send + Sync, B: Backend> Payments for Guarded<T, B> {
    fn payment_terms(&self) -> Terms {
        self.provider.payment_terms()
    }

    async fn create_payment(&self, key: &str, payment: &NewPayment) -> Result<Created, ProviderError> {
        self.counted(self.provider.create_payment(key, payment)).await
    }

    async fn confirm_payment(&self, key: &str, id: &PaymentId) -> Result<Confirmation, ProviderError> {
        self.counted(self.provider.confirm_payment(key, id)).await
    }

    async fn capture_payment(&self, key: &str, id: &PaymentId, amount: Money) -> Result<Captured, ProviderError> {
        self.counted(self.provider.capture_payment(key, id, amount)).await
    }

    async fn cancel_payment(&self, key: &str, id: &PaymentId) -> Result<Voided, ProviderError> {
        self.counted(self.provider.cancel_payment(key, id)).await
    }

    async fn refund_payment(
        &self,
        key: &str,
        id: &PaymentId,
        order_id: OrderId,
        ordinal: usize,
        amount: Money,
    ) -> Result<String, ProviderError> {
        self.counted(self.provider.refund_payment(key, id, order_id, ordinal, amount)).await
    }

    async fn look_up_payment(&self, id: &PaymentId) -> Result<PaymentView, ProviderError> {
        self.counted(self.provider.look_up_payment(id)).await
    }
}

impl<T: Carrier + Send + Sync, B: Backend> Carrier for Guarded<T, B> {
    fn carrier_terms(&self) -> Terms {
        self.provider.carrier_terms()
    }

    async fn create_shipment(&self, request: &ShipmentRequest) -> Result<ShipmentAnswer, ProviderError> {
        self.counted(self.provider.create_shipment(request)).await
    }

    async fn look_up_shipment(&self, order_id: OrderId) -> Result<Option<Shipment>, ProviderError> {
        self.counted(self.provider.look_up_shipment(order_id)).await
    }
}

impl<T: SendMail + Send + Sync, B: Backend> SendMail for Guarded<T, B> {
    async fn send_mail(&self, to: &Email, mail: &Mail) -> Result<String, ProviderError> {
        self.counted(self.provider.send_mail(to, mail)).await
    }
}

impl<B: Backend> ReadBreakers for Platform<B> {
    async fn read_breaker(&self, dependency: Dependency) -> Result<Arc<Row>, StoreError> {
        let name = dependency.name();
        let item = self.backend.get(&self.names.breakers_table, Row::key(name), true).await?;
        let row = item.map_or_else(|| Ok(Row::absent(name)), |item| Row::from_item(name, &item))?;
        Ok(Arc::new(row))
    }
}

/// The three breakers, for whoever probes.
pub struct Breakers<B> {
    of: [(Dependency, Breaker<B>); 3],
}

impl<B> fmt::Debug for Breakers<B> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Breakers").finish_non_exhaustive()
    }
}

impl<B: Backend> Breakers<B> {
    /// Over this platform.
    ///
    /// # Errors
    /// Never with the settings that there are.
    pub fn new(platform: &Arc<Platform<B>>) -> Result<Self, InvalidSettings> {
        let usual = breaker_settings(&platform.names.breakers_table);
        let settings = DistributedSettings { store_timeout_ms: PATIENT_MS, ..usual };
        let of = |dependency| with(platform, dependency, settings.clone()).map(|breaker| (dependency, breaker));
        Ok(Self { of: [of(Dependency::Payment)?, of(Dependency::Carrier)?, of(Dependency::Mail)?] })
    }

    fn get(&self, dependency: Dependency) -> Result<&Breaker<B>, StoreError> {
        let found = self.of.iter().find(|(of, _)| *of == dependency).map(|(_, breaker)| breaker);
        found.ok_or_else(|| StoreError::NotDone(format!("no breaker of {dependency}")))
    }
}

impl<B: Backend> ReadBreakers for Breakers<B> {
    async fn read_breaker(&self, dependency: Dependency) -> Result<Arc<Row>, StoreError> {
        self.get(dependency)?.row().await
    }
}

impl<B: Backend> ProbeBreakers for Breakers<B> {
    async fn claim_probe(&self, dependency: Dependency, epoch: u64, every_ms: u64) -> Result<bool, StoreError> {
        match self.get(dependency)?.claim_probe(epoch, every_ms).await? {
            Moved::Moved(_) => Ok(true),
            Moved::Unmoved(_) => Ok(false),
        }
    }

    async fn probed(&self, dependency: Dependency, epoch: u64, good: bool) -> Result<Arc<Row>, StoreError> {
        let breaker = self.get(dependency)?;
        let moved = if good { breaker.probe_succeeded(epoch).await } else { breaker.probe_failed(epoch).await };
        moved.map(|(Moved::Moved(row) | Moved::Unmoved(row))| row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_success_no_answer_is_failure_and_our_own_haste_is_nothing() {
        let why = String::new;
        for (error, expected) in [
            (ProviderError::NotRun { retry_after: None, why: why() }, Outcome::Failure),
            (ProviderError::Throttled { retry_after: None, why: why() }, Outcome::Ignored),
            (ProviderError::Unknown { why: why() }, Outcome::Failure),
            (ProviderError::Failed { why: why() }, Outcome::Failure),
            (ProviderError::WrongState { why: why() }, Outcome::Success),
            (ProviderError::Refused { why: why() }, Outcome::Success),
        ] {
            assert_eq!(outcome::<()>(&Err(error.clone())), expected, "{error}");
        }
        assert_eq!(outcome(&Ok(Confirmation::Declined { code: "card_declined".to_owned() })), Outcome::Success);
    }
}
