"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const views = {};

// Rows of a heat map at one moment: a rectangle for each candidate that the edge has.
function rows(map, moment) {
  const found = [];
  map.moments[moment].forEach((edge, e) => edge.forEach(([thousandths, chosen], o) => {
    if (thousandths !== null && map.operations[e][o]) {
      found.push({ edge: map.edges[e], operation: map.operations[e][o], strength: thousandths / 1000, chosen: Boolean(chosen) });
    }
  }));
  return found;
}

function show(moment) {
  const slider = data.slider;
  document.getElementById("moment-label").textContent = slider.labels[moment];
  document.getElementById("moment").setAttribute("aria-valuetext", "epoch " + slider.labels[moment]);
  document.querySelectorAll(".frame").forEach((frame, i) => { frame.hidden = i !== slider.shown[moment]; });
  for (const [kind, map] of Object.entries(slider.maps)) {
    const view = views["alphas-" + kind];
    if (view) view.data("strengths", rows(map, moment)).run();
  }
}

async function draw() {
  const last = data.slider ? data.slider.labels.length - 1 : 0;
  for (const place of document.querySelectorAll("[data-chart]")) {
    const name = place.dataset.chart, spec = data.charts[name];
    if (name.startsWith("alphas-")) spec.datasets = { strengths: rows(data.slider.maps[name.slice(7)], last) };
    const embedded = await vegaEmbed(place, spec, { actions: false, renderer: "svg" });
    views[name] = embedded.view;
  }
  const slider = document.getElementById("moment");
  if (slider) {
    slider.addEventListener("input", () => show(Number(slider.value)));
    show(Number(slider.value));
  }
  document.documentElement.dataset.drawn = "yes";
}

draw();
