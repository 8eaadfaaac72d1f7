"""A persistence layer that answers at once, so that what remains is Powertools' own work."""

from aws_lambda_powertools.utilities.idempotency import BasePersistenceLayer
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
)
from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import DataRecord


class MemoryPersistenceLayer(BasePersistenceLayer):
    """Records in a dictionary. A put is refused with the present record, as DynamoDB does with ALL_OLD."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, DataRecord] = {}

    def _get_record(self, idempotency_key: str) -> DataRecord:
        try:
            return self.records[idempotency_key]
        except KeyError as missing:
            raise IdempotencyItemNotFoundError from missing

    def _put_record(self, data_record: DataRecord) -> None:
        present = self.records.setdefault(data_record.idempotency_key, data_record)
        if present is not data_record:
            raise IdempotencyItemAlreadyExistsError(old_data_record=present)

    def _update_record(self, data_record: DataRecord) -> None:
        self.records[data_record.idempotency_key] = data_record

    def _delete_record(self, data_record: DataRecord) -> None:
        del self.records[data_record.idempotency_key]
