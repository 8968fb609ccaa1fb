# SPDX-License-Identifier: GPL-3.0-or-later
"""The style of the fleet's page: light and dark, phone and desk, print. No font, picture or script from elsewhere."""

from __future__ import annotations

__all__ = ["STYLE"]

# Contrast of text is 4.5 or more on its ground in both schemes (WCAG 2.2, 1.4.3); of bars and marks 3 or more (1.4.11).
STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f5f6f8; --card: #ffffff; --line: #dde1e7; --track: #e9ecf1;
  --text: #1a2230; --soft: #566174;
  --good: #177245; --good-soft: #e2f3e9; --bad: #b3261e; --bad-soft: #fbe7e5;
  --unlike: #6a3fb5; --unlike-soft: #efe8fb; --note: #8a5a00; --note-soft: #fbf0d9;
  --blue: #2f6fd0; --green: #2c9462; --amber: #b97d0b; --red: #cf3e36;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #10141b; --card: #181e27; --line: #2c3542; --track: #252d39;
    --text: #e7ebf1; --soft: #a3aebf;
    --good: #6fd39c; --good-soft: #14301f; --bad: #ff9a92; --bad-soft: #3b1a18;
    --unlike: #c7adff; --unlike-soft: #2a2142; --note: #f0c265; --note-soft: #33280f;
    --blue: #6aa3f5; --green: #45b57f; --amber: #e0a93a; --red: #ee6c62;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); line-height: 1.45;
  font: 16px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main, header, footer { max-width: 76rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 0 0 .75rem; }
p { margin: 0 0 .5rem; }
.when, footer, caption, .hint { color: var(--soft); font-size: .875rem; }
.verdict { display: inline-flex; gap: .5rem; align-items: baseline; padding: .35rem .8rem; border-radius: 2rem;
  font-weight: 600; margin: .3rem 0 .6rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .75rem; margin: 1.25rem 0;
  padding: 0; }
.tiles > div, section { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; }
.tiles > div { padding: .8rem 1rem; }
.tiles dt { color: var(--soft); font-size: .85rem; }
.tiles dd { margin: .1rem 0 0; font-size: 1.6rem; font-weight: 650; line-height: 1.2; letter-spacing: -.01em; }
.tiles dd small { display: block; font-size: .8rem; font-weight: 400; color: var(--soft); letter-spacing: 0;
  margin-top: .15rem; overflow-wrap: anywhere; }
section { padding: 1.1rem 1.25rem 1.25rem; margin: 0 0 1rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
.charts { margin-bottom: 1rem; }
.charts section { margin: 0; }
figure { margin: 0; }
figcaption { color: var(--soft); font-size: .875rem; margin-bottom: .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .6rem; }
th, td { text-align: left; padding: .55rem .75rem .55rem 0; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: .85rem; padding-top: 0;
  white-space: nowrap; }
th[scope=row] { font-weight: 600; overflow-wrap: break-word; min-width: 8rem; }
td small { display: block; max-width: 34rem; color: var(--soft); font-size: .8rem; }
td time { white-space: nowrap; }
.cards td code { white-space: nowrap; }
.cards td code.long { white-space: normal; }
code { font: .875em ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.tag { display: inline-block; padding: .05rem .55rem; border-radius: 1rem; font-size: .85rem; font-weight: 600;
  white-space: nowrap; }
.well { color: var(--good); background: var(--good-soft); }
.trouble { color: var(--bad); background: var(--bad-soft); }
.difference { color: var(--unlike); background: var(--unlike-soft); }
.notice { color: var(--note); background: var(--note-soft); }
td.differs { box-shadow: inset 3px 0 var(--unlike); padding-left: .6rem; }
.open, .closed, .troubled { white-space: nowrap; }
.open { color: var(--good); } .closed, .troubled { color: var(--bad); font-weight: 600; }
.findings { list-style: none; margin: 0; padding: 0; }
.findings li { display: grid; grid-template-columns: 6.5rem 1fr; gap: .1rem .9rem; padding: .6rem 0;
  border-top: 1px solid var(--line); }
.findings li:first-child { border-top: 0; padding-top: 0; }
.findings li:last-child { padding-bottom: 0; }
.findings p { margin: 0; overflow-wrap: anywhere; }
.reasons { list-style: none; margin: 0; padding: 0; }
.reasons li + li { margin-top: .9rem; }
.reasons p { margin: 0; overflow-wrap: anywhere; }
svg { display: block; overflow: visible; }
.strip { margin: .3rem 0 .2rem; }
svg text { fill: var(--text); font-size: 14px; }
svg .value { font-variant-numeric: tabular-nums; fill: var(--soft); font-size: 13px; }
svg .faint, svg .mark-words { fill: var(--soft); }
svg .mark-words { font-size: 12.5px; }
.track { fill: var(--track); }
.bar { stroke: var(--card); stroke-width: 1; }
.blue { fill: var(--blue); } .green { fill: var(--green); } .amber { fill: var(--amber); } .red { fill: var(--red); }
.mark { stroke: var(--text); stroke-width: 2; stroke-dasharray: 3 2; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; margin: .4rem 0 0; padding: 0;
  font-size: .875rem; color: var(--soft); }
.key svg { display: inline-block; vertical-align: -1px; margin-right: .4rem; }
footer { padding-bottom: 2.5rem; }
@media (max-width: 46rem) {
  body { font-size: 15px; }
  main, header, footer { padding-left: .85rem; padding-right: .85rem; }
  section { padding: 1rem .9rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .findings li { grid-template-columns: 1fr; }
}
@media (max-width: 60rem) {
  .cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .cards, .cards tbody, .cards th, .cards td, .cards caption { display: block; width: 100%; }
  .cards tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); gap: .1rem 1rem;
    border-top: 1px solid var(--line); padding: .7rem 0; }
  .cards th, .cards td { border: 0; padding: .15rem 0; }
  .cards th[scope=row] { font-size: 1.05rem; grid-column: 1 / -1; }
  .cards td[colspan] { grid-column: 1 / -1; }
  .cards td { display: grid; grid-template-columns: 6.5rem 1fr; gap: .5rem; align-items: baseline; }
  .cards td::before { content: attr(data-name); color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
  .cards td.differs { box-shadow: none; padding-left: 0; }
  .cards td.differs::before { color: var(--unlike); font-weight: 600; }
}
@media print {
  body { background: #fff; } section, .tiles > div { break-inside: avoid; }
}
"""
