// The loop of the Lambda Runtime API. AWS's own client for Node, `aws-lambda-ric`, compiles libcurl with cmake when it is
// installed; this one needs nothing. https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
import { Agent, type IncomingMessage, request } from 'node:http';
import type { Context } from 'aws-lambda';

type Handler = (event: never, context: Context) => Promise<unknown>;

const agent = new Agent({ keepAlive: true, maxSockets: 1 });
const [host, port] = (process.env.AWS_LAMBDA_RUNTIME_API ?? '').split(':');

const call = (method: string, path: string, body?: string) =>
  new Promise<{ headers: IncomingMessage['headers']; text: string }>((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const sent = request({ agent, host, port, method, path: `/2018-06-01/runtime/${path}`, headers }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () => resolve({ headers: answer.headers, text: Buffer.concat(chunks).toString() }));
      answer.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });

const contextOf = (headers: IncomingMessage['headers'], requestId: string): Context => {
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  return {
    awsRequestId: requestId,
    callbackWaitsForEmptyEventLoop: true,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME ?? '',
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION ?? '',
    invokedFunctionArn: String(headers['lambda-runtime-invoked-function-arn']),
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE ?? '',
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME ?? '',
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME ?? '',
    getRemainingTimeInMillis: () => deadline - Date.now(),
    done: () => {},
    fail: () => {},
    succeed: () => {},
  };
};

export const serve = async (handler: Handler): Promise<never> => {
  for (;;) {
    const { headers, text } = await call('GET', 'invocation/next');
    const requestId = String(headers['lambda-runtime-aws-request-id']);
    process.env._X_AMZN_TRACE_ID = String(headers['lambda-runtime-trace-id'] ?? '');
    try {
      const answer = await handler(JSON.parse(text) as never, contextOf(headers, requestId));
      await call('POST', `invocation/${requestId}/response`, JSON.stringify(answer ?? null));
    } catch (error) {
      const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
      const told = { errorType: name, errorMessage: message, stackTrace: (stack ?? '').split('\n') };
      await call('POST', `invocation/${requestId}/error`, JSON.stringify(told));
    }
  }
};
