//! Event source mappings, and another run of the function that asks: Lambda.

use aws_sdk_lambda::error::SdkError;
use aws_sdk_lambda::operation::get_event_source_mapping::GetEventSourceMappingOutput;
use aws_sdk_lambda::types::{InvocationType, ScalingConfig};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use lambda_queue::aws::store_error;
use ports::{Mapping, MappingSet, SetMappings, StartWatch, StoreError};

use crate::Aws;

/// A mapping as Lambda tells it.
///
/// # Errors
/// When it is in a state that nobody knows.
pub fn mapping_of(id: &str, found: &GetEventSourceMappingOutput) -> Result<Mapping, StoreError> {
    // <https://docs.aws.amazon.com/lambda/latest/api/API_GetEventSourceMapping.html>
    let (enabled, settled) = match found.state().unwrap_or_default() {
        "Enabled" => (true, true),
        "Disabled" => (false, true),
        "Enabling" | "Updating" | "Creating" => (true, false),
        "Disabling" | "Deleting" => (false, false),
        other => return Err(StoreError::Unreadable(format!("mapping {id} is {other:?}"))),
    };
    let maximum = found.scaling_config().and_then(ScalingConfig::maximum_concurrency);
    Ok(Mapping {
        enabled,
        settled,
        maximum_concurrency: maximum.and_then(|most| u32::try_from(most).ok()),
        changed_at_ms: found.last_modified().and_then(|at| at.to_millis().ok()?.try_into().ok()).unwrap_or(0),
    })
}

impl SetMappings for Aws {
    async fn mapping(&self, id: &str) -> Result<Mapping, StoreError> {
        let asked = self.backend.lambda().get_event_source_mapping().uuid(id).send().await;
        mapping_of(id, &asked.map_err(|error| store_error(&error))?)
    }

    async fn set_mapping(
        &self,
        id: &str,
        enabled: bool,
        maximum_concurrency: Option<u32>,
    ) -> Result<MappingSet, StoreError> {
        let scaling = maximum_concurrency.and_then(|most| i32::try_from(most).ok());
        let scaling = scaling.map(|most| ScalingConfig::builder().maximum_concurrency(most).build());
        let update = self.backend.lambda().update_event_source_mapping().uuid(id).enabled(enabled);
        match update.set_scaling_config(scaling).send().await {
            Ok(_) => Ok(MappingSet::Taken),
            // One change at a time: <https://docs.aws.amazon.com/lambda/latest/api/API_UpdateEventSourceMapping.html>
            Err(SdkError::ServiceError(error))
                if matches!(error.err().code(), Some("ResourceInUseException" | "ResourceConflictException")) =>
            {
                Ok(MappingSet::Busy)
            }
            Err(error) => Err(store_error(&error)),
        }
    }
}

impl StartWatch for Aws {
    async fn start_watch(&self) -> Result<(), StoreError> {
        let invoke = self.backend.lambda().invoke().function_name(&self.names.own_function);
        let asked = invoke.invocation_type(InvocationType::Event).payload(b"{}".to_vec().into()).send().await;
        asked.map(drop).map_err(|error| store_error(&error))
    }
}
