// The status page. Everything from the gateway becomes text (textContent), never markup.
"use strict";

const $ = (id) => document.getElementById(id);
const GRADES = {
  red: ["▲", "红色 Ⅰ级", "RED"], orange: ["◆", "橙色 Ⅱ级", "ORANGE"],
  yellow: ["●", "黄色 Ⅲ级", "YELLOW"], blue: ["■", "蓝色 Ⅳ级", "BLUE"],
};
const STATES = {
  "active-unacknowledged": ["未确认", "active, not acknowledged"],
  "active-acknowledged": ["已确认", "active, acknowledged"],
  "returned-unacknowledged": ["已恢复，未确认", "returned, not acknowledged"],
  "latched-unacknowledged": ["已恢复，锁定，未确认", "latched, not acknowledged"],
  "latched-acknowledged": ["已恢复，锁定，待复位", "latched, waits for a reset"],
};
const WORDS = {
  clock: "时钟不可信", calibration: "标定过期", "over-range": "略超上限", "under-range": "略低于下限", spike: "尖峰", step: "跳变",
  timeout: "应答超时", "line-down": "线路中断", "bad-frame": "报文损坏", "exception-10": "网关无路由", "exception-11": "网关后设备无应答", exception: "设备拒绝", "sensor-fault": "传感器故障",
  "out-of-range": "超出量程", stuck: "数值不变", "not-polled": "暂停轮询", input: "输入无值",
};
const QUALITY = { good: ["●", "正常"], uncertain: ["◐", "存疑"], bad: ["○", "无效"] };
const LATE_S = 15;

let token = sessionStorage.getItem("token") || "";
let status = null, fetched = null, shape = null, busy = false, again = false;
const cells = new Map();
const cards = new Map();
const grades = new Map();

// An element with a class and children; strings become text.
function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
}
function english(text) {
  const node = make("span", "", text);
  node.lang = "en";
  return node;
}
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 100) return `${s} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}
// How long ago, never more than it is: 45 s, 12 min, 3 h 05 min, 2 d.
function age(seconds) {
  const s = Math.max(0, Math.floor(seconds)), minutes = Math.floor(s / 60);
  if (s < 60) return `${s} s`;
  if (minutes < 60) return `${minutes} min`;
  return s < 172800 ? `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min` : `${Math.floor(s / 86400)} d`;
}
// A number that goes on by itself (drawAges).
function ago(time) {
  const node = make("span", "");
  node.dataset.since = Date.parse(time);
  return node;
}
function clock(time) {
  const how = { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
  try {
    return new Intl.DateTimeFormat("zh-CN", { ...how, timeZone: status.timezone }).format(new Date(time));
  } catch {
    return time;
  }
}
function size(bytes) {
  const steps = ["B", "kB", "MB", "GB", "TB"];
  let step = 0;
  for (; bytes >= 1000 && step < 4; step++) bytes /= 1000;
  return `${step && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${steps[step]}`;
}
const count = (number) => number.toLocaleString("en-US");

function words(reason) {
  const known = Object.keys(WORDS).find((word) => reason === word || reason.startsWith(`${word}:`) || reason.startsWith(`${word} (`) || reason.startsWith(`${word}-`));
  return known ? `${WORDS[known]} ${reason}` : reason;
}
// [number or name of the state, unit]
function shown(point, value) {
  const state = (point?.states || []).find(([number]) => number === value);
  if (state) return [state[1], ""];
  return [point ? value.toFixed(point.decimals) : String(Number(value.toPrecision(9))), point?.unit || ""];
}
// A number of an alarm: in the unit of its point as its readings; a rise, a count or the answer to a question is no reading of it.
const isState = (point, alarm) => !alarm.unit && point?.states;
function numberOf(point, alarm, value) {
  if (alarm.unit && point?.unit === alarm.unit) return shown(point, value)[0];
  return String(Math.abs(value) < 1000 ? Number(value.toPrecision(4)) : Math.round(value));
}

// What the rule judges now, beside the value that raised the alarm.
function judgedOf({ now, point }) {
  if (!now) return "";
  const known = cells.get(point)?.point, doubt = now.quality === "good" ? "" : words(now.reason || now.quality);
  const seconds = (Date.parse(status.now) - Date.parse(now.time)) / 1000, old = seconds > 60 ? `, ${span(seconds)}` : "";
  if (now.value === undefined) return `现 now ${doubt}${old}`;
  const number = now.state ?? `${numberOf(known, now, now.value)} ${now.unit || ""}`.trim();
  return `现 now ${number}${doubt && ` (${doubt})`}${old}`;
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { signal: AbortSignal.timeout(8000), cache: "no-store", ...options, headers });
  if (answer.status === 401) $("gate").hidden = false;
  if (!answer.ok) throw new Error(`${path} ${answer.status}`);
  return answer;
}

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  const began = performance.now();
  try {
    // Alarms come at each change; readings and status, 65 kB of 2,000 points, the less often the more there are: after 5 s at most.
    const whole = fetched === null || performance.now() - fetched >= Math.min(5000, cells.size * 2.5);
    const names = ["alarms", "overlays", ...(whole ? ["status", "points"] : [])];
    const [alarms, overlays, now, readings] = await Promise.all(names.map((name) => ask(`/api/v1/${name}`).then((answer) => answer.json())));
    if (whole) {
      status = now;
      fetched = performance.now();
      $("gate").hidden = true;
      drawShape();
      drawReadings(readings);
      drawRates();
      drawTraffic();
      drawInner();
    }
    drawAlarms(alarms);
    drawCovered(overlays, alarms);
  } catch (error) {
    console.warn(error);
  }
  busy = false;
  drawAge();
  // Half of a slow link stays free.
  if (again) { again = false; setTimeout(refresh, Math.max(300, performance.now() - began)); }
}

// How old what we show is, whether or not the gateway still answers.
function drawAge() {
  const silent = fetched === null ? performance.now() / 1000 : (performance.now() - fetched) / 1000;
  const old = fetched === null ? silent : silent + status.still_ms / 1000;
  const gone = silent > LATE_S;
  const well = status && !gone && status.troubles.length === 0;
  document.body.classList.toggle("gone", gone);
  $("gone").hidden = !gone;
  if (gone) put($("gone"), `网关无应答，以下是 ${span(old)} 前的数据 · The gateway does not answer; what you see is ${span(old)} old`);
  if (!status && !gone) return;
  $("health").className = well ? "pill well" : "pill ill";
  const [zh, en] = gone ? ["✕ 无应答", "no answer"] : well ? ["✓ 运行正常", "running"] : ["! 有异常", "trouble"];
  if ($("health").dataset.is !== en) {
    $("health").dataset.is = en;
    $("health").replaceChildren(`${zh} `, english(en));
  }
  put($("age"), fetched === null ? "" : `${span(old)} 前更新 · updated ${span(old)} ago`);
  $("age").className = old > LATE_S ? "sub late" : "sub";
  drawAges();
}
// By the gateway's clock, as it goes on since it told it: that of a phone may be hours wrong.
function drawAges() {
  if (!status) return;
  const now = Date.parse(status.now) + status.still_ms + performance.now() - fetched;
  for (const node of document.querySelectorAll("[data-since]")) put(node, age((now - node.dataset.since) / 1000));
}

// Towns, risk points, devices and their points: built anew only when the documents change.
function drawShape() {
  if (shape === status.documents + status.started) return;
  shape = status.documents + status.started;
  put($("site"), status.site);
  cells.clear();
  const towns = new Map();
  // What the gateway tells of its own work stands in the tables of lines and sinks; a limit never changes, and stands in its alarm.
  for (const device of status.devices.filter((device) => !device.class.endsWith("-health") && device.class !== "rule-limit")) {
    const town = device.town || (device.line ? "未登记街镇 No town" : "网关与计算 Gateway and derived");
    if (!towns.has(town)) towns.set(town, []);
    towns.get(town).push(device);
  }
  $("towns").replaceChildren(...[...towns].map(([town, devices]) => townCard(town, devices)));
}
function townCard(town, devices) {
  const table = make("table", "");
  table.setAttribute("role", "table");
  const heads = [["设备", "Device", ""], ["测点", "Point", "c-point"], ["数值", "Value", "c-value value"], ["质量", "Quality", ""], ["时龄", "Age", "c-age age"]];
  const row = make("tr", "", ...heads.map(([zh, en, name]) => {
    const head = make("th", name, `${zh} `, english(en));
    head.scope = "col";
    return head;
  }));
  devices.sort((a, b) => (a.risk_point || "").localeCompare(b.risk_point || "") || a.name.localeCompare(b.name));
  table.append(make("thead", "", row), ...devices.filter((device) => device.points.length).map(deviceRows));
  const [zh, ...en] = town.split(" ");
  return make("article", "town", make("h3", "", `${zh} `, english(en.join(" "))), table);
}
function deviceRows(device) {
  const body = make("tbody", "");
  const trouble = make("span", "sub bad");
  device.points.forEach((point, index) => {
    const cell = { point, row: make("tr", ""), value: make("td", "value"), quality: make("td", "quality"), age: make("td", "age") };
    if (index === 0) {
      const head = make("th", "", device.name, make("span", "sub", [device.risk_point, device.line].filter(Boolean).join(" · ")), trouble);
      head.scope = "rowgroup";
      head.rowSpan = device.points.length;
      cell.row.append(head);
    }
    cell.row.append(make("td", "", point.short), cell.value, cell.quality, cell.age);
    cells.set(point.name, cell);
    body.append(cell.row);
  });
  cells.set(`${device.name}/`, { trouble });
  return body;
}

function drawReadings(readings) {
  const now = Date.parse(status.now);
  for (const device of status.devices) {
    const cell = cells.get(`${device.name}/`);
    if (cell) put(cell.trouble, device.trouble ? `! ${words(device.trouble)}` : "");
  }
  const fresh = new Map(readings.map((reading) => [reading.point, reading]));
  for (const [name, cell] of cells) {
    if (!cell.point) continue;
    const reading = fresh.get(name);
    cell.row.className = reading ? reading.quality === "bad" ? "none" : "" : "none";
    const [number, unit] = reading?.value === undefined ? ["—", ""] : shown(cell.point, reading.value);
    if (cell.value.dataset.is !== `${number} ${unit}`) {
      cell.value.dataset.is = `${number} ${unit}`;
      cell.value.replaceChildren(number, unit ? make("span", "unit", unit) : "");
    }
    const [sign, zh] = reading ? QUALITY[reading.quality] : ["○", "暂无读数 no reading yet"];
    cell.quality.className = `quality ${reading ? reading.quality : "none"}`;
    put(cell.quality, `${sign} ${zh}${reading?.reason ? ` · ${words(reading.reason)}` : ""}`);
    put(cell.age, reading ? span((now - Date.parse(reading.time)) / 1000) : "");
  }
}

// Cards stay in place as long as their alarm does not change, so that a button never moves from under a finger without need.
function drawAlarms(alarms) {
  const told = [];
  // What another open alarm explains stands below that one.
  const open = new Map(alarms.map((alarm) => [alarm.id, alarm]));
  const above = (alarm) => alarm.suppressed ? open.get(alarm.cause?.alarm) : undefined;
  const root = (alarm, steps = 8) => above(alarm) && steps ? root(above(alarm), steps - 1) : alarm;
  const own = alarms.filter((alarm) => root(alarm) === alarm);
  const nodes = own.map((alarm) => {
    const children = alarms.filter((child) => child !== alarm && root(child) === alarm);
    const known = cards.get(alarm.id), text = JSON.stringify([alarm, children], (key, value) => key === "now" ? undefined : value);
    if (known?.text === text) return known.node;
    const rank = `${alarm.severity} ${alarm.state}`;
    if (grades.get(alarm.id) !== rank && alarm.state === "active-unacknowledged") told.push(`${GRADES[alarm.severity][1]} ${alarm.place || alarm.point} ${alarm.advice}`);
    grades.set(alarm.id, rank);
    const node = alarmCard(alarm, children, known?.node.querySelector("details")?.open);
    cards.set(alarm.id, { text, node });
    return node;
  });
  for (const alarm of own) put(cards.get(alarm.id).node.querySelector(".judged"), judgedOf(alarm));
  for (const id of [...cards.keys()]) if (!open.has(id)) { cards.delete(id); grades.delete(id); }
  const list = $("alarms");
  if (list.children.length !== nodes.length || nodes.some((node, index) => list.children[index] !== node)) list.replaceChildren(...nodes);
  $("calm").hidden = alarms.length > 0;
  put($("alarms-count"), own.length ? String(own.length) : "");
  document.title = `${own.length ? `(${own.length}) ` : ""}${status.site} · lifeline`;
  if (told.length) put($("said"), `报警 ${told.slice(0, 5).join("；")}`);
}
function alarmCard(alarm, children, unfolded) {
  const [sign, zh, en] = GRADES[alarm.severity];
  const [state, words] = STATES[alarm.state] || [alarm.state, ""];
  const active = alarm.state.startsWith("active");
  const unseen = alarm.state.endsWith("unacknowledged");
  const point = cells.get(alarm.point)?.point;
  const what = make("p", "what", `${[alarm.place, alarm.point].filter(Boolean).join(" · ")}  `);
  if (alarm.value !== undefined) {
    // The number of a question about states only says whether it holds: the state itself stands beside it.
    if (!isState(point, alarm)) what.append(make("span", "number", `${numberOf(point, alarm, alarm.value)} ${alarm.unit || ""}`));
    if (alarm.threshold !== undefined && !isState(point, alarm)) what.append(make("span", "sub", `  阈值 limit ${numberOf(point, alarm, alarm.threshold)} ${alarm.unit || ""}`));
  }
  const plan = [alarm.word, alarm.plan && `预案 ${alarm.plan}`, alarm.phase && `阶段 ${alarm.phase}`, alarm.layer && `层级 ${alarm.layer}`].filter(Boolean).join(" · ");
  const present = alarm.present && GRADES[alarm.present];
  const now = present ? make("p", "present", `现 ${present[0]} ${present[1]} `, english(`now ${present[2]}`)) : "";
  const where = [alarm.town, alarm.risk_point, alarm.rule].filter(Boolean).join(" · ");
  const by = alarm.acknowledged_by ? ` · ${alarm.acknowledged_by} ${clock(alarm.acknowledged_at)}` : "";
  const doubt = alarm.unverified ? make("span", "new", " · 无法核实 cannot be verified now") : "";
  const over = [...hidingOf(alarm).map(([text]) => make("span", "", ` · ${text}`)),
    alarm.suppressed ? make("span", "", " · 已抑制 suppressed") : "", alarm.drill ? make("span", "new", " · 演练 drill") : ""];
  const line = make("p", "state", make("span", unseen ? "new" : "", `${state} ${words}`), by, doubt, ...over, ` · 始于 since ${clock(alarm.since)}`);
  const ages = make("p", "ages", active ? "持续 lasting " : "触发于 raised ", ago(alarm.since), active ? "" : " 前 ago");
  if (alarm.unanswered_since) ages.append(" · ", make("span", "new", "无人确认 unanswered ", ago(alarm.unanswered_since)));
  const body = make("div", "body", what, make("p", "judged", judgedOf(alarm)), ages, make("p", "advice", alarm.advice), ...(plan ? [make("p", "where", plan)] : []), line, make("p", "where", where));
  const node = make("li", `alarm ${alarm.severity}${active ? "" : " over"}`, make("div", "grade", `${sign} ${zh} `, english(en), now), body);
  if (children.length) {
    const says = (child) => make("li", "", `${child.point} · ${child.rule} · ${(STATES[child.state] || [child.state])[0]} · ${clock(child.since)} · `, ago(child.since));
    const list = make("details", "below", make("summary", "", `由此引起 ${children.length} 条 `, english("alarms that it explains")), make("ul", "", ...children.map(says)));
    list.open = Boolean(unfolded);
    body.append(list);
  }
  const acts = [];
  if (unseen) acts.push("ack");
  if (alarm.state === "latched-acknowledged") acts.push("reset");
  if (alarm.shelved) acts.push("unshelve");
  else if (alarm.severity !== "red" && !alarm.drill) acts.push("shelve");
  if (alarm.out_of_service) acts.push("return");
  else if (!alarm.drill) acts.push("out-of-service");
  if (alarm.drill && !acts.includes("reset")) acts.push("reset");
  node.append(buttons(alarm, acts, alarm.point));
  return node;
}
function buttons(alarm, acts, of) {
  return make("div", "acts", ...acts.map((act) => {
    const [zh, en] = ACTS[act];
    const button = make("button", "", `${zh} `, english(en));
    button.setAttribute("aria-label", `${zh} ${en} ${of}`);
    button.addEventListener("click", () => openAct(alarm, act));
    return button;
  }));
}
// What a person laid over a rule: in words, and by whom and why.
function hidingOf(rule) {
  const of = (text, end, ...why) => [`${text} ${clock(end)}`, why.filter(Boolean).join(" · ")];
  return [rule.shelved && rule.shelf && of("搁置至 shelved until", rule.shelf.until, rule.shelf.by, rule.shelf.reason),
    rule.out_of_service && rule.permit && of("停用至 out of service until", rule.permit.to, rule.permit.permit, rule.permit.by, rule.permit.reason)].filter(Boolean);
}
// Rules that a person hid and that have no open alarm: nothing else on the page would remind anybody of them.
function drawCovered(overlays, alarms) {
  const open = new Set(alarms.map((alarm) => alarm.rule));
  const rules = overlays.filter((rule) => !open.has(rule.rule) && (rule.shelved || rule.out_of_service));
  const text = JSON.stringify(rules);
  if ($("covered").dataset.is === text) return;
  $("covered").dataset.is = text;
  $("covered").replaceChildren(...rules.map((rule) => {
    const acts = [...(rule.shelved ? ["unshelve"] : []), ...(rule.out_of_service ? ["return"] : [])];
    const lines = hidingOf(rule).map((parts) => make("p", "state", parts.filter(Boolean).join(" · ")));
    const grade = make("div", "grade", "○ 隐藏 ", english("hidden"));
    return make("li", "alarm over", grade, make("div", "body", make("p", "what", rule.rule), ...lines), buttons({ id: rule.rule }, acts, rule.rule));
  }));
}

// What the requests of each line and of its devices came to; drawn anew only when a figure changed.
function drawTraffic() {
  const rows = status.lines.flatMap((line) => [[line.name, line.traffic, true],
    ...status.devices.filter((device) => device.line === line.name && device.traffic).map((device) => [device.name, device.traffic, false])]);
  const text = JSON.stringify(rows);
  if ($("traffic").dataset.is === text) return;
  $("traffic").dataset.is = text;
  const head = (zh, en, name) => {
    const cell = make("th", name, `${zh} `, english(en));
    cell.scope = "col";
    return cell;
  };
  const table = make("table", "", make("thead", "", make("tr", "", head("线路与设备", "Line, device", ""), head("占用", "Load", "age"),
    head("请求", "Requests", "age"), head("应答", "Replies", "age"), head("应答时间", "Answer p50 / p99", "age"), head("故障", "Faults", ""))));
  for (const line of status.lines) {
    const body = make("tbody", "");
    for (const [name, traffic, whole] of rows.filter((row) => row[0] === line.name || status.devices.some((device) => device.name === row[0] && device.line === line.name))) {
      const times = traffic.answers ? `${traffic.answers.ms_p50.toFixed(0)} / ${traffic.answers.ms_p99.toFixed(0)} ms` : "—";
      const faults = (traffic.faults || []).map((fault) => `${words(fault.fault)} ${count(fault.count)}`).join(" · ");
      const first = make(whole ? "th" : "td", "", name);
      if (whole) first.scope = "rowgroup";
      body.append(make("tr", "", first, make("td", "age", whole && traffic.load !== undefined ? `${(traffic.load * 100).toFixed(1)} %` : ""),
        make("td", "age", count(traffic.requests)), make("td", "age", count(traffic.replies)), make("td", "age", times), make("td", "", faults || "—")));
    }
    table.append(body);
  }
  $("traffic").replaceChildren(make("div", "town", table));
}

// How many alarms reach a person, against what one can live with.
const VERDICTS = { acceptable: "可接受", manageable: "尚可应对", "too many": "过多" };
function drawRates() {
  const rates = status.rates;
  if (!rates) return;
  const top = rates.top.slice(0, 3).map((talker) => `${talker.rule} ${talker.raised}`).join("，");
  const parts = [`近 1 小时新报警 ${rates.hour} 条，24 小时 ${rates.day} 条，${VERDICTS[rates.verdict] || ""} ${rates.verdict}`];
  if (rates.flood_since) parts.unshift(`! 报警泛滥 flood ${clock(rates.flood_since)} 起`);
  if (rates.standing.length) parts.push(`持续超过 1 天 standing ${rates.standing.length}`);
  if (rates.chattering.length) parts.push(`抖动 chattering ${rates.chattering.join("，")}`);
  if (rates.hidden) parts.push(`隐藏 hidden ${rates.hidden}`);
  if (top) parts.push(`最多 most ${top}`);
  put($("rates"), parts.join(" · "));
}

function pairs(id, rows) {
  const text = JSON.stringify(rows);
  if ($(id).dataset.is === text) return;
  $(id).dataset.is = text;
  $(id).replaceChildren(...rows.map(([key, value, name, note]) => {
    const row = make("div", note ? "note" : "", make("dt", "", key));
    row.append(make("dd", name || "", value));
    return row;
  }));
}
function drawInner() {
  $("troubles").hidden = status.troubles.length === 0;
  $("troubles").replaceChildren(...status.troubles.map((text) => make("li", "", `! ${text}`)));
  pairs("lines", status.lines.map((line) => [line.name, line.trouble ? `✕ ${line.trouble}` : "✓ 正常", line.trouble ? "bad" : "good"]));
  const journal = status.journal;
  const state = journal.trouble ? [["✕ 磁盘拒绝 refuses", journal.trouble, "bad"]] : [["状态 State", "✓ 正常", "good"]];
  pairs("journal", [...state, ["提交号 Commit", count(journal.seq)], ["读数 Readings", count(journal.readings)],
    ["占用 On disk", size(journal.bytes)], ...(journal.waiting ? [["等待写入 Waiting", count(journal.waiting), "bad"]] : [])]);
  pairs("sinks", status.sinks.length === 0 ? [["未配置 none", ""]] : status.sinks.flatMap((sink) => [
    [sink.name, sink.up ? "✓ 正常" : "✕ 中断 down", sink.up ? "good" : "bad"],
    ["", `已传 ${count(sink.readings)} · 积压 backlog ${count(sink.backlog)}${sink.quarantined ? ` · 隔离 set aside ${count(sink.quarantined)}` : ""}`, "none", true],
    ...(sink.trouble ? [["", sink.trouble, "bad", true]] : []),
  ]));
  const tasks = { test: "报警通道测试", calibrate: "检定", inspect: "检验", maintain: "维护中" };
  const work = status.work || [];
  pairs("work", work.length === 0 ? [["无 none", "✓", "good"]] : work.slice(0, 20).map((item) => [`${tasks[item.task] || item.task} ${item.of || ""}`.trim(),
    `${item.overdue ? "! 逾期 overdue " : ""}${item.due ? clock(item.due) : "现在 now"}`, item.overdue ? "bad" : ""]));
  pairs("losses", status.losses.length === 0 ? [["无 none", "✓", "good"]] : status.losses.map((loss) => [`${loss.reason} · ${loss.place}`, count(loss.count)]));
  put($("foot"), `lifeline ${status.version} · 配置 documents ${status.documents.slice(0, 8)} · 启动 started ${clock(status.started)} · ${status.timezone}`);
}

// What a person does to an alarm; each act asks for what it needs.
const ACTS = {
  ack: ["确认", "Acknowledge", ["note"]], reset: ["复位", "Reset", []],
  shelve: ["搁置", "Shelve", ["note", "hours"]], unshelve: ["取消搁置", "Unshelve", []],
  "out-of-service": ["停用", "Out of service", ["note", "hours", "permit", "responsible", "substitute"]], return: ["恢复使用", "Return", []],
};
const NEEDED = { shelve: ["note", "hours"], "out-of-service": ["hours", "permit", "responsible"] };
let acting = null;
function openAct(alarm, act) {
  acting = { alarm, act };
  const [zh, en, fields] = ACTS[act];
  $("ack-title").replaceChildren(`${zh}报警 `, english(en));
  $("ack-do").replaceChildren(`${zh} `, english(en));
  const [sign, colour, word] = GRADES[alarm.severity] || [];
  put($("ack-what"), sign ? `${sign} ${colour} ${word} · ${alarm.point} · ${alarm.advice}` : alarm.id);
  $("ack-by").value = sessionStorage.getItem("by") || "";
  $("ack-token").value = token;
  for (const name of ["note", "hours", "permit", "responsible", "substitute"]) {
    const field = $(`ack-${name}`);
    field.value = name === "hours" ? "1" : "";
    field.parentElement.hidden = !fields.includes(name);
    field.required = (NEEDED[act] || []).includes(name);
    field.disabled = !fields.includes(name);
  }
  $("ack-hours").max = act === "shelve" ? "8" : "24";
  put($("ack-error"), "");
  $("ack").showModal();
}
function actBody(alarm, act, by) {
  const text = (name) => $(`ack-${name}`).value.trim();
  const hours = Number(text("hours"));
  const why = text("note") ? { reason: text("note") } : {};
  if (act === "ack") return { severity: alarm.severity, by, ...(text("note") ? { note: text("note") } : {}) };
  if (act === "shelve") return { by, ...why, severity: alarm.severity, seconds: Math.round(hours * 3600) };
  if (act === "out-of-service") {
    // The end by the gateway's clock, not by this one's.
    const to = new Date(Date.parse(status.now) + hours * 3600000).toISOString();
    return { by, ...why, permit: text("permit"), responsible: text("responsible"), to, ...(text("substitute") ? { substitute: text("substitute") } : {}) };
  }
  return { by };
}
$("ack-cancel").addEventListener("click", () => $("ack").close());
$("ack-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { alarm, act } = acting;
  const by = $("ack-by").value.trim();
  const body = actBody(alarm, act, by);
  const path = `/api/v1/alarms/${encodeURIComponent(alarm.id)}/${act}`;
  const headers = { Authorization: `Bearer ${$("ack-token").value.trim()}`, "Content-Type": "application/json" };
  try {
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(15000) });
    if (!answer.ok) {
      const why = await answer.json().catch(() => ({ error: answer.statusText }));
      put($("ack-error"), answer.status === 401 ? "令牌不正确 The token is wrong" : why.error);
      return;
    }
    token = $("ack-token").value.trim();
    sessionStorage.setItem("token", token);
    sessionStorage.setItem("by", by);
    $("ack").close();
    refresh();
  } catch {
    put($("ack-error"), "网关无应答 The gateway does not answer");
  }
});
$("gate").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("gate-token").value.trim();
  sessionStorage.setItem("token", token);
  refresh();
});

// Live ticks; when they end or were refused, ask now and then and try again.
async function listen() {
  for (;;) {
    try {
      const answer = await ask("/api/v1/events", { signal: undefined });
      const reader = answer.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        if (new TextDecoder().decode(value).includes("data:")) refresh();
      }
    } catch (error) {
      console.warn(error);
    }
    await new Promise((later) => setTimeout(later, 3000));
    refresh();
  }
}
setInterval(drawAge, 1000);
setInterval(() => { if (fetched === null || performance.now() - fetched > 5000) refresh(); }, 5000);
refresh();
listen();
