//! How the page looks: black on white, on the paper that the printer has, and one column on a telephone.

/// The content of the only `style` element.
pub(super) const CSS: &str = "
@page { margin: 11mm 14mm }
* { box-sizing: border-box }
html { background: #fff; color: #000; color-scheme: light }
body { margin: 0 auto; max-width: 186mm; padding: 4mm; font: 10.5pt/1.4 system-ui, 'Helvetica Neue', Arial, sans-serif }
header { display: flex; justify-content: space-between; align-items: flex-end; gap: 6mm; border-bottom: 2pt solid #000; padding-bottom: 2mm }
h1 { font-size: 21pt; line-height: 1.1; margin: 0 }
header dl { margin: 0; font-size: 8.5pt; display: grid; grid-template-columns: auto auto; gap: 0 3mm }
header dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums }
h2 { font-size: 12pt; margin: 4mm 0 1mm; break-after: avoid }
p { margin: 1.5mm 0 }
.warning { border: 1.5pt solid #000; padding: 1.5mm 3mm; margin: 3mm 0; font-weight: 600 }
.note { font-size: 8.5pt; color: #333 }
code, .typed { font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-variant-ligatures: none }
.item { display: flex; gap: 5mm; align-items: center; padding: 1mm 0; border-bottom: .5pt solid #999; break-inside: avoid }
.item > div { flex: 1; min-width: 0 }
.item h3 { font-size: 10.5pt; margin: 0 0 1mm }
.item svg { width: 34mm; height: 34mm; flex: none }
.item.secret svg { width: 40mm; height: 40mm }
.typed { font-size: 10.5pt; line-height: 1.65; overflow-wrap: anywhere; word-break: break-all }
.typed span { display: inline-block; margin-right: 1.4ex }
.typed span.own { margin-right: 0 }
.typed .line { display: block; margin: 0 }
.item.secret.long { align-items: flex-start }
.item.secret.long .typed { font-size: 7.5pt; line-height: 1.45 }
table { width: 100%; border-collapse: collapse }
th { text-align: left; font-size: 8.5pt; font-weight: 600; border-bottom: 1pt solid #000; padding: 0 2mm 1mm 0 }
td { border-bottom: .5pt solid #999; padding: 1.2mm 2mm 1.2mm 0; vertical-align: top }
td.kind { white-space: nowrap }
td code.typed { font-size: 8pt; line-height: 1.4 }
.name { width: 34mm }
.fill { table-layout: fixed }
.fill td { height: 7mm }
tr { break-inside: avoid }
ol { margin: 0; padding-left: 6mm }
li { margin: 0 0 2mm; break-inside: avoid }
pre { margin: .8mm .5mm 0 0; padding: 1.5mm 2.5mm; border: .5pt solid #999; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 8.5pt; line-height: 1.4 }
.blank { border-bottom: .8pt solid #000; height: 9mm; display: block; margin-bottom: 3mm }
section.keep { break-inside: avoid }
footer { margin-top: 4mm; font-size: 8.5pt; color: #333 }
@media print { body { padding: 0; max-width: none } }
@media screen and (max-width: 600px) {
  header { display: block } header dl { margin-top: 2mm; justify-content: start } header dd { text-align: left }
  .item { display: block } .item svg { margin-top: 2mm; width: 60vw; height: 60vw } .item.secret svg { width: 70vw; height: 70vw }
  .names td { display: block; border: 0; padding-bottom: 0 } .names th { display: none } .names tr { display: block; border-bottom: .5pt solid #999; padding-bottom: 1.5mm }
}
";
