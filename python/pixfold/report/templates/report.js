"use strict";
(function () {
  var table = document.getElementById("features");
  if (!table) return;
  var body = table.tBodies[0];
  var rows = Array.prototype.slice.call(body.rows);
  var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
  var search = document.getElementById("search");
  var count = document.getElementById("count");
  var all = document.getElementById("all");
  var first = rows.filter(function (row) { return !row.classList.contains("more"); }).length;

  function show() {
    var wanted = search.value.trim().toLowerCase();
    var place = 0;
    rows.forEach(function (row) {
      var found = !wanted || row.dataset.text.toLowerCase().indexOf(wanted) >= 0;
      row.hidden = !found;
      // The first rows of what is found, in the order that is shown.
      row.classList.toggle("more", found && place >= first);
      if (found) place += 1;
    });
    count.textContent = wanted ? place + " of " + rows.length + " match" : "";
    all.hidden = place <= first;
    all.textContent = table.classList.contains("short") ? "Show all " + place : "Show the first " + first;
  }

  function sort(head) {
    var column = heads.indexOf(head);
    var falling = head.getAttribute("aria-sort") === "ascending";
    if (!head.hasAttribute("aria-sort")) falling = head.dataset.first === "descending";
    var numbers = head.classList.contains("n");
    function value(row) {
      var text = row.cells[column].dataset.v;
      return text === "" ? null : numbers ? parseFloat(text) : text.toLowerCase();
    }
    rows = rows.map(function (row, at) { return [value(row), at, row]; }).sort(function (a, b) {
      // What has no value comes last in both directions; equal values keep their order.
      if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null) || a[1] - b[1];
      var order = a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
      return (falling ? -order : order) || a[1] - b[1];
    }).map(function (entry) { return entry[2]; });
    heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    rows.forEach(function (row) { body.appendChild(row); });
    show();
  }

  heads.forEach(function (head) {
    var button = head.querySelector("button");
    if (button) button.addEventListener("click", function () { sort(head); });
  });
  search.addEventListener("input", show);
  all.addEventListener("click", function () { table.classList.toggle("short"); show(); });
  document.getElementById("tools").hidden = false;
  show();
})();
