//! How the page looks: light or dark as the reader's system is, one column on a telephone, black on white on paper. Colours only repeat what a word says.

/// The content of the only `style` element.
pub(super) const CSS: &str = "
:root { color-scheme: light dark; --back: #fff; --fore: #1b1f24; --soft: #57606a; --line: #d0d7de; --card: #f6f8fa;
  --good: #1a7f37; --bad: #b42318; --open: #8a5a00; --idle: #8c959f; --link: #0b57a4 }
@media (prefers-color-scheme: dark) { :root { --back: #0f1419; --fore: #e6e9ec; --soft: #9aa5b1; --line: #303842; --card: #181f27;
  --good: #4ac26b; --bad: #ff8a80; --open: #e3b341; --idle: #6e7781; --link: #79b8ff } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--fore); font: 16px/1.5 system-ui, 'Helvetica Neue', Arial, sans-serif; overflow-wrap: anywhere }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1.25rem 3rem }
a { color: var(--link) }
h1 { font-size: 1.8rem; line-height: 1.2; margin: .1rem 0 1rem }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line) }
h3 { font-size: 1.02rem; margin: 0; line-height: 1.35 }
p { margin: .4rem 0 }
code, .lines { font: .84em/1.5 ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace }
.kicker { color: var(--soft); margin: 0 }
.came { border: 1px solid var(--line); border-left: 6px solid var(--open); border-radius: 6px; background: var(--card); padding: .8rem 1rem }
.came strong { display: block; font-size: 1.25rem; line-height: 1.3 }
.came.good { border-left-color: var(--good) } .came.good strong { color: var(--good) }
.came.bad { border-left-color: var(--bad) } .came.bad strong { color: var(--bad) }
.came.open strong { color: var(--open) }
.note, .meta { color: var(--soft); font-size: .88rem }
dl { display: grid; grid-template-columns: fit-content(14rem) 1fr; gap: .25rem 1.25rem; margin: 1rem 0 0 }
dt { color: var(--soft) } dd { margin: 0; min-width: 0 }
table { width: 100%; border-collapse: collapse; font-size: .94rem }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: .84rem; padding: 0 .8rem .3rem 0; border-bottom: 1px solid var(--line) }
th { white-space: nowrap }
td { min-width: 5.5rem; padding: .45rem .8rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td[data-label='Snapshot'] { white-space: nowrap }
.word { font-weight: 600 } .word.good { color: var(--good) } .word.bad { color: var(--bad) } .word.open { color: var(--open) }
.timeline { list-style: none; margin: 0; padding: 0 }
.timeline li { padding: .4rem 0; break-inside: avoid }
.timeline .row { display: flex; justify-content: space-between; gap: 1rem; align-items: baseline; font-size: .94rem }
.timeline .row span { text-align: right; flex: none; max-width: 50% }
.timeline svg { display: block; width: 100%; height: 12px; margin-top: .25rem; overflow: hidden; border-radius: 2px }
.track { fill: var(--card); stroke: var(--line); stroke-width: 1 }
.idle { fill: url(#dots) } .dots { fill: var(--idle) }
.bar { fill: var(--open) } .bar.good { fill: var(--good) } .bar.bad { fill: url(#stripes) }
.stripes { stroke: var(--bad); stroke-width: 4 } .under { fill: var(--back) }
.ends { display: flex; justify-content: space-between; gap: 1rem; color: var(--soft); font-size: .84rem; margin: .3rem 0 0 }
.ends span:last-child { text-align: right }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .5rem 0 0; padding: 0; list-style: none; color: var(--soft); font-size: .84rem }
.key svg { width: 28px; height: 10px; vertical-align: -1px; margin-right: .4rem }
article { border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; margin: 0 0 .8rem }
article header { display: flex; justify-content: space-between; gap: 1rem; align-items: baseline }
article header .word { flex: none; max-width: 45%; text-align: right }
article h4 { font-size: .84rem; color: var(--soft); margin: .8rem 0 .2rem; font-weight: 600 }
article p { margin: .2rem 0 }
.lines { margin: .2rem 0 0; padding: .5rem .7rem; background: var(--card); border-radius: 4px; white-space: pre-wrap; list-style: none }
.checks { margin: 0; padding: 0; list-style: none }
.checks li { padding: .25rem 0; border-top: 1px solid var(--line) } .checks li:first-child { border: 0 }
.command { display: block; padding: .5rem .7rem; background: var(--card); border-radius: 4px; margin: .4rem 0 }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .84rem; border-top: 1px solid var(--line); padding-top: .6rem }
.defs { position: absolute; width: 0; height: 0 }
@media screen and (max-width: 640px) {
  main { padding: 1rem .9rem 2rem } h1 { font-size: 1.45rem }
  dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .5rem }
  table, tbody, tr, td { display: block } thead { display: none }
  tr { border-bottom: 1px solid var(--line); padding: .5rem 0 } td { border: 0; padding: .1rem 0; min-width: 0 }
  td[data-label]::before { content: attr(data-label) ': '; color: var(--soft) } td:first-child { font-weight: 600 } td:first-child::before { content: none }
  article header { display: block } article header .word { max-width: none; text-align: left; display: block }
  .timeline .row { display: block } .timeline .row span { display: block; text-align: left; max-width: none }
}
@page { margin: 14mm }
@media print {
  :root { --back: #fff; --fore: #000; --soft: #444; --line: #aaa; --card: #fff; --good: #14612a; --bad: #9b1c12; --open: #6b4600; --idle: #888; --link: #000 }
  html { font-size: 9.5pt } body { font-size: 1rem } main { max-width: none; padding: 0 }
  h2 { break-after: avoid } .ends, .key { break-before: avoid } article, tr, .came { break-inside: avoid } a { text-decoration: none }
  .lines, .command { border: 1px solid var(--line) }
}
";
