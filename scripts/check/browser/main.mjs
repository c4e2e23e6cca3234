// Drives a headless Chromium through the page, as a user would:
//   node scripts/check/browser/main.mjs --url http://127.0.0.1:8080 [--wgpt target/release/wgpt --feedback FILE]
//       [--modules DIR with playwright-core] [--chromium PATH] [--only WORD] [--shots DIR]
// With --wgpt the ratings are read from the database with `wgpt feedback list`; otherwise the server is asked.

import { chat } from "./chat.mjs";
import { composing } from "./composing.mjs";
import { inside } from "./inside.mjs";
import { keyboard } from "./keyboard.mjs";
import { lasting } from "./lasting.mjs";
import { modules } from "./modules.mjs";
import { figures } from "./figures.mjs";
import { given, verdict, visitors } from "./visitors.mjs";

const options = given({});
if (!options.url) throw new Error("give the server's address: --url http://127.0.0.1:8080");
const { check, end } = await visitors(options);
for (const checks of [modules, keyboard, composing, chat, lasting, inside, figures]) await checks(check);
verdict(await end());
