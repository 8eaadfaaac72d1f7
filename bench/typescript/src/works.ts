// Powertools for AWS Lambda (TypeScript) doing the benchmark's small works, over and over inside one invocation. The
// driver measures the process from outside; an answer only proves that the work was done.
import { readFileSync } from 'node:fs';
import { BatchProcessor, EventType, processPartialResponse } from '@aws-lambda-powertools/batch';
import { IdempotencyConfig, makeIdempotent } from '@aws-lambda-powertools/idempotency';
import { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';
import { Logger } from '@aws-lambda-powertools/logger';
import { Metrics, MetricUnit } from '@aws-lambda-powertools/metrics';
import type { Context, SQSEvent, SQSRecord } from 'aws-lambda';
import { MemoryPersistenceLayer } from './memory.js';
import { serve } from './runtime.js';

type Order = { order_id: string; quantity: number; currency: string };
type Work =
  | { work: 'batch'; path: string; repeat: number }
  | { work: 'idempotent'; store: 'dynamodb' | 'memory'; prefix: string; repeat: number }
  | { work: 'emf' | 'log'; repeat: number };

const logger = new Logger({ serviceName: 'bench' });
const metrics = new Metrics({ namespace: 'Bench', serviceName: 'bench' });
const processor = new BatchProcessor(EventType.SQS);
const config = new IdempotencyConfig({ eventKeyJmesPath: 'order_id' });

let ran = 0;

const place = async (order: Order) => {
  ran += 1;
  return { order_id: order.order_id, status: 'accepted' };
};

const stores = {
  dynamodb: makeIdempotent(place, {
    config,
    persistenceStore: new DynamoDBPersistenceLayer({ tableName: process.env.POWERTOOLS_TABLE ?? '' }),
  }),
  memory: makeIdempotent(place, { config, persistenceStore: new MemoryPersistenceLayer() }),
};

const texts = new Map<string, string>();

const text = (path: string): string => {
  const kept = texts.get(path) ?? readFileSync(path, 'utf8');
  texts.set(path, kept);
  return kept;
};

const record = async (record: SQSRecord) => {
  if ((JSON.parse(record.body) as Order).quantity < 1) throw new Error('quantity');
};

const handler = async (event: Work, context: Context): Promise<unknown> => {
  switch (event.work) {
    case 'batch': {
      let answer = '';
      for (let at = 0; at < event.repeat; at += 1) {
        const batch = JSON.parse(text(event.path)) as SQSEvent;
        answer = JSON.stringify(await processPartialResponse(batch, record, processor, { context }));
      }
      return JSON.parse(answer);
    }
    case 'idempotent': {
      ran = 0;
      config.registerLambdaContext(context);
      let last: unknown;
      for (let at = 0; at < event.repeat; at += 1) {
        last = await stores[event.store]({ order_id: `${event.prefix}-${at}`, quantity: 2, currency: 'EUR' });
      }
      return { ran, last };
    }
    case 'emf':
      for (let at = 0; at < event.repeat; at += 1) {
        metrics.addMetric('OrdersPlaced', MetricUnit.Count, 1);
        metrics.addMetric('Lines', MetricUnit.Count, at);
        metrics.addMetric('Latency', MetricUnit.Milliseconds, 12);
        metrics.publishStoredMetrics();
      }
      return null;
    case 'log':
      logger.appendKeys({ function_request_id: context.awsRequestId });
      for (let at = 0; at < event.repeat; at += 1) {
        logger.info('order placed', { order_id: 'o-1', receive_count: at, queue: 'validate' });
      }
      return null;
  }
};

void serve(handler);
