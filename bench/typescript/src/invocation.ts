// A whole function as the documentation of Powertools for AWS Lambda (TypeScript) writes it: a batch of SQS records, each
// placed once, one row written for each.
import { DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { BatchProcessor, EventType, processPartialResponse } from '@aws-lambda-powertools/batch';
import { IdempotencyConfig, makeIdempotent } from '@aws-lambda-powertools/idempotency';
import { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';
import { Logger } from '@aws-lambda-powertools/logger';
import { Metrics, MetricUnit } from '@aws-lambda-powertools/metrics';
import type { Context, SQSEvent, SQSRecord } from 'aws-lambda';
import { serve } from './runtime.js';

type Order = { order_id: string; quantity: number };

const logger = new Logger({ serviceName: 'bench' });
const metrics = new Metrics({ namespace: 'Bench', serviceName: 'bench' });
const processor = new BatchProcessor(EventType.SQS);
const persistenceStore = new DynamoDBPersistenceLayer({ tableName: process.env.POWERTOOLS_TABLE ?? '' });
const config = new IdempotencyConfig({ eventKeyJmesPath: 'order_id' });
const dynamodb = new DynamoDBClient({});

const place = makeIdempotent(
  async (order: Order) => {
    const item = { order_id: { S: order.order_id }, quantity: { N: String(order.quantity) } };
    await dynamodb.send(new PutItemCommand({ TableName: process.env.ORDERS_TABLE, Item: item }));
    return { order_id: order.order_id, status: 'accepted' };
  },
  { config, persistenceStore },
);

const recordHandler = async (record: SQSRecord): Promise<void> => {
  const order = JSON.parse(record.body) as Order;
  await place(order);
  metrics.addMetric('OrdersPlaced', MetricUnit.Count, 1);
  logger.info('order placed', { order_id: order.order_id });
};

const handler = async (event: SQSEvent, context: Context) => {
  logger.addContext(context);
  config.registerLambdaContext(context);
  try {
    return await processPartialResponse(event, recordHandler, processor, { context });
  } finally {
    metrics.publishStoredMetrics();
  }
};

void serve(handler);
