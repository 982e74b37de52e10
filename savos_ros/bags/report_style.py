"""The look of the page about a run: light and dark, phone and desktop."""

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#17202b;--soft:#5b6773;
--rule:#dde2e8;--hidden:#e69f00;--sure:#0072b2;--bar:#0072b2;--s0:#56b4e9;--s1:#e69f00;--s2:#0072b2;--s3:#009e73;
--s4:#cc79a7;--s5:#9aa4ae}
@media (prefers-color-scheme:dark){:root{--page:#11161c;--card:#1a2129;--ink:#e8edf2;--soft:#9aa7b4;
--rule:#2d3742;--sure:#6cc0f0;--bar:#56b4e9;--s2:#2a7ab8;--s5:#6b7681}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1160px;margin:0 auto;padding:24px 16px 48px}
h1{margin:0;font-size:28px;line-height:1.2;overflow-wrap:anywhere}
h2{margin:0;font-size:19px}
h3{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 12px;margin:0 0 6px;
font-size:14px;overflow-wrap:anywhere}
p{margin:0}
.note,small,h3 small,figcaption,.axis{color:var(--soft);font-weight:400;font-size:13px}
.note{overflow-wrap:anywhere}
section{margin-top:16px;padding:18px;background:var(--card);border:1px solid var(--rule);
border-radius:10px}
section>.note{margin-bottom:14px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin-top:16px}
.tile{padding:12px 14px;background:var(--card);border:1px solid var(--rule);border-radius:10px}
.tile small{display:block}
.tile p{color:var(--soft);font-size:13px}
.tile strong{font-size:24px;font-variant-numeric:tabular-nums}
.strip+.strip{margin-top:18px}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr));gap:8px}
.strip .note{margin-bottom:4px}
figure{margin:0}
img{display:block;width:100%;border-radius:6px}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(300px,100%),1fr));
gap:20px 24px}
svg{display:block;width:100%;height:76px}
.bars{border-bottom:1px solid var(--rule)}
.bars rect{fill:var(--bar)}
.area{fill:var(--hidden);fill-opacity:.55}
path.line{fill:none;stroke:var(--sure);stroke-width:2;vector-effect:non-scaling-stroke}
line.grid{stroke:var(--rule);stroke-width:1;vector-effect:non-scaling-stroke}
.axis{display:flex;justify-content:space-between;font-size:12px}
.key{display:inline-block;width:14px;height:10px;margin:0 5px 0 0;border-radius:2px}
.key.area{background:var(--hidden);opacity:.7}
.key.line{height:3px;margin:0 5px 3px 10px;background:var(--sure)}
.shares{display:flex;gap:2px;height:22px;overflow:hidden;border-radius:5px}
.shares span{flex:1 1 0;min-width:0}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;margin:8px 0 20px;font-size:13px}
.legend i{display:inline-block;width:10px;height:10px;margin-right:6px;border-radius:2px}
.s0{background:var(--s0)}.s1{background:var(--s1)}.s2{background:var(--s2)}
.s3{background:var(--s3)}.s4{background:var(--s4)}.s5{background:var(--s5)}
table{width:100%;border-collapse:collapse;font-size:14px}
th,td{padding:7px 8px 7px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule);
overflow-wrap:anywhere}
tr:last-child>*{border-bottom:0}
th:last-child,td:last-child{padding-right:0}
th{font-weight:500}
tr:first-child th{color:var(--soft);font-size:13px}
td{font-variant-numeric:tabular-nums}
td small{display:block}
.meter{display:block;position:relative;padding:1px 8px;border-radius:4px;
background:linear-gradient(90deg,color-mix(in srgb,var(--bar) 30%,transparent) var(--share),
color-mix(in srgb,var(--rule) 55%,transparent) 0)}
"""
