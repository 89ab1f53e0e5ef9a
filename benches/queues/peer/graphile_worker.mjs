// graphile-worker behind the protocol of the benchmark: one order as JSON per line in, one answer
// per line out. A drain runs in processes of its own, as its documentation advises; the clock runs
// from the first task that begins in any of them until the table is empty.

import { fork } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const require = createRequire(process.env.QUEUES_NPM);
const { Logger, makeWorkerUtils, run } = require("graphile-worker");
const { Client } = require("pg");

const dsn = process.argv[2];
const quiet = new Logger(() => () => {});

/** The settings of its page on performance, where jobs are batched; else one job per query. */
function preset({ concurrency, localQueue, batched }) {
  const batching = { localQueue: { size: localQueue }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
  return {
    worker: {
      connectionString: dsn,
      concurrentJobs: concurrency,
      maxPoolSize: concurrency + 1,
      logger: quiet,
      ...(batched ? batching : {}),
    },
  };
}

const now = () => performance.timeOrigin + performance.now();

async function work(order) {
  let [first, done, told] = [undefined, 0, 0];
  const bench = async () => {
    first ??= now();
    done += 1;
  };
  const runner = await run({ preset: preset(order), taskList: { bench }, noHandleSignals: true });
  const teller = setInterval(() => {
    if (done > told) process.send({ done: (told = done), first });
  }, 2);
  process.on("message", async () => {
    clearInterval(teller);
    await runner.stop();
    process.disconnect();
  });
}

async function fill({ jobs, payload }) {
  const client = new Client(dsn);
  await client.connect();
  for (let left = jobs; left > 0; left -= 10_000) {
    await client.query(
      `select count(*) from graphile_worker.add_jobs(array(
         select json_populate_record(null::graphile_worker.job_spec,
                  json_build_object('identifier', 'bench', 'payload', $2::json))
         from generate_series(1, $1::int)))`,
      [Math.min(left, 10_000), payload],
    );
  }
  await client.query("analyze");
  await client.end();
  return {};
}

async function drain({ jobs, processes, ...order }) {
  const client = new Client(dsn);
  await client.connect();
  const done = new Array(processes).fill(0);
  let first = Infinity;
  let finished;
  const all = new Promise((resolve) => (finished = resolve));
  const children = done.map((_, index) => {
    const child = fork(fileURLToPath(import.meta.url), [dsn, JSON.stringify(order)]);
    child.on("message", (told) => {
      done[index] = told.done;
      first = Math.min(first, told.first);
      if (done.reduce((sum, count) => sum + count) >= jobs) finished();
    });
    return child;
  });
  const gone = Promise.all(children.map((child) => new Promise((resolve) => child.on("exit", resolve))));
  await Promise.race([all, gone.then(() => Promise.reject(new Error("a worker ended early")))]);
  // A task that ran is not yet one whose end is stored.
  const left = "select exists (select from graphile_worker._private_jobs) as some";
  while ((await client.query(left)).rows[0].some);
  const seconds = (now() - first) / 1000;
  children.forEach((child) => child.send("stop"));
  await gone;
  await client.end();
  return { jobs: done.reduce((sum, count) => sum + count), seconds };
}

if (process.argv[3]) {
  await work(JSON.parse(process.argv[3]));
} else {
  const utils = await makeWorkerUtils({ connectionString: dsn, logger: quiet });
  await utils.migrate();
  await utils.release();
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: verb, ...order } = JSON.parse(line);
    console.log(JSON.stringify(await { fill, drain }[verb](order)));
  }
}
