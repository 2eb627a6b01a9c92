// Clicks the buttons of the status page as a duty operator does. Arguments: address of the page, token, folder for pictures, and the rule
// whose alarm comes at once and ends by itself after some seconds.
// Prints `ok` at the end; exits 2 with a sentence when something is wrong.
"use strict";
const { chromium } = require("playwright-core");
const [, , address, token, folder, rule] = process.argv;

async function main() {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
  const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
  page.setDefaultTimeout(30000);
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  // The clock of this phone is seven hours ahead: no age may come of it.
  await page.addInitScript(() => { const real = Date.now; Date.now = () => real() + 7 * 3600000; });
  const sizes = [];
  page.on("response", (answer) => sizes.push([new URL(answer.url()).pathname, answer.headers()["content-encoding"]]));
  await page.goto(address);
  const card = page.locator(".alarm", { hasText: rule });
  const act = async (name, fields) => {
    await card.locator(".acts button", { hasText: name }).click();
    await page.waitForSelector("#ack[open]");
    await page.fill("#ack-by", "zhang");
    await page.fill("#ack-token", token);
    for (const [field, text] of Object.entries(fields)) await page.fill(`#ack-${field}`, text);
    await page.screenshot({ path: `${folder}/${name}.png` });
    await page.click("#ack-do");
    const closed = page.waitForSelector("#ack", { state: "hidden" });
    await closed.catch(async () => { throw new Error(`${name}: ${await page.textContent("#ack-error")}`); });
  };
  // Value and limit of an alarm in the unit of its point have the digits of its readings.
  const compared = await page.waitForFunction(() => {
    const places = (text) => (text.split(".")[1] || "").length;
    const rows = new Map();
    for (const body of document.querySelectorAll("#towns tbody")) {
      for (const cell of body.querySelectorAll("td.value")) {
        const unit = cell.querySelector(".unit")?.textContent, number = cell.firstChild?.textContent || "";
        if (unit) rows.set(unit, (rows.get(unit) || new Set()).add(places(number)));
      }
    }
    const said = [...document.querySelectorAll(".alarm .what")].map((what) => what.textContent);
    const parts = said.map((text) => text.match(/  (-?[\d.]+) (\S+)  阈值 limit (-?[\d.]+) \2$/)).filter((found) => found && rows.has(found[2]));
    if (!parts.length) return undefined;
    const unlike = parts.filter(([, value, unit, limit]) => places(value) !== places(limit) || !rows.get(unit).has(places(value))).map((found) => found[0]);
    return { unlike };
  });
  const { unlike } = await compared.jsonValue();
  if (unlike.length) faults.push(`an alarm's numbers are not as its readings: ${unlike.join("; ")}`);
  // Beside what raised it stands what is measured now.
  await page.locator(".alarm .judged", { hasText: /^现 now -?[\d.]+ \S+/ }).first().waitFor();
  const written = await page.evaluate(() => [-3, 0, 59.9, 60, 12 * 60 + 59, 3 * 3600 + 5 * 60, 47 * 3600 + 59 * 60, 172800, 260000].map(age).join("|"));
  if (written !== "0 s|0 s|59 s|1 min|12 min|3 h 05 min|47 h 59 min|2 d|3 d") faults.push(`ages are written ${written}`);
  // How long it lasts and nobody answers, which goes on by itself.
  const ages = card.locator(".ages").first(), seconds = async () => Number((await ages.textContent()).match(/^(?:持续 lasting|触发于 raised) (\d+) s.* · 无人确认 unanswered \1 s$/)?.[1] ?? NaN);
  const before = await seconds();
  await page.waitForTimeout(2100);
  const later = await seconds();
  if (!(before >= 0 && later > before && later < 60)) faults.push(`an age went from ${before} to ${later}: ${await ages.textContent()}`);
  const says = (text, state = "attached") => card.locator(".state", { hasText: text }).first().waitFor({ state });
  await act("Shelve", { note: "pump test", hours: "1" });
  await says("shelved until");
  await act("Unshelve", {});
  await says("shelved until", "detached");
  await act("Shelve", { note: "pump test", hours: "1" });
  await act("Out of service", { hours: "2", permit: "W-7", responsible: "wang", substitute: "hourly patrol" });
  await says("out of service until");
  await act("Acknowledge", { note: "seen" });
  // Seen and gone, the alarm is over; what lies over its rule still stands there, and can be ended.
  const covered = page.locator("#covered .alarm", { hasText: rule });
  await covered.waitFor();
  await says("zhang · pump test");
  await page.screenshot({ path: `${folder}/covered.png` });
  await act("Unshelve", {});
  await says("shelved until", "detached");
  await act("Return", {});
  await card.waitFor({ state: "detached" });
  if (!sizes.some(([path, how]) => path === "/api/v1/points" && how === "gzip")) faults.push("points are not packed");
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
  await page.screenshot({ path: `${folder}/phone.png` });
  await browser.close();
  if (wide) faults.push("on a phone the page is wider than the screen");
  if (faults.length) throw new Error(faults.join("; "));
  console.log("ok");
}
main().catch((error) => { console.error(error.message); process.exit(2); });
