/* No line comments and a semicolon after each statement: some notebooks join the lines of this script. */
(function () {
  "use strict";
  var data = JSON.parse(document.getElementById("data").textContent);
  var by = function (id) { return document.getElementById(id); };
  var all = function (selector) { return Array.prototype.slice.call(document.querySelectorAll(selector)); };
  var stage = by("stage");
  var picture = stage.querySelector("svg");
  var boxes = all(".stage .box");
  var edges = all(".stage .edge");
  var cells = boxes.map(function (box) {
    var texts = box.querySelectorAll("text");
    return { data: texts[texts.length - 3], grad: texts[texts.length - 1] };
  });
  var calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  var framed = window.self !== window.top;

  /* ---------------------------------------------------------------------------------------------- the view */

  var content = picture.querySelector("g").getBBox();
  content.x += 20;
  content.y += 20;
  var view = { x: 0, y: 0, scale: 1 };
  var moving = 0;

  function place() {
    var w = stage.clientWidth / view.scale;
    var h = stage.clientHeight / view.scale;
    picture.setAttribute("viewBox", [view.x, view.y, w, h].map(function (n) { return n.toFixed(2); }).join(" "));
  }

  function fitting() {
    return Math.min(stage.clientWidth / (content.width + 48), stage.clientHeight / (content.height + 48));
  }

  function centre(x, y) {
    view.x = x - stage.clientWidth / view.scale / 2;
    view.y = y - stage.clientHeight / view.scale / 2;
  }

  function fit(least) {
    cancelAnimationFrame(moving);
    view.scale = Math.max(least, Math.min(1.6, fitting()));
    centre(content.x + content.width / 2, content.y + content.height / 2);
    place();
  }

  function zoom(factor, x, y) {
    cancelAnimationFrame(moving);
    var scale = Math.max(Math.min(fitting(), 0.2), Math.min(6, view.scale * factor));
    var atX = x === undefined ? stage.clientWidth / 2 : x;
    var atY = y === undefined ? stage.clientHeight / 2 : y;
    view.x += atX / view.scale - atX / scale;
    view.y += atY / view.scale - atY / scale;
    view.scale = scale;
    place();
  }

  function pan(dx, dy) {
    cancelAnimationFrame(moving);
    view.x += dx / view.scale;
    view.y += dy / view.scale;
    place();
  }

  /* Moves the view as little as needed to show some elements, or their first one where they do not fit. */
  function reveal(elements) {
    var margin = 20;
    var width = stage.clientWidth / view.scale;
    var height = stage.clientHeight / view.scale;
    var frame = { x: Infinity, y: Infinity, right: -Infinity, bottom: -Infinity };
    elements.forEach(function (element, i) {
      var b = element.getBBox();
      var wider = {
        x: Math.min(frame.x, b.x + 20), y: Math.min(frame.y, b.y + 20),
        right: Math.max(frame.right, b.x + 20 + b.width), bottom: Math.max(frame.bottom, b.y + 20 + b.height)
      };
      if (i === 0 || (wider.right - wider.x + 2 * margin < width && wider.bottom - wider.y + 2 * margin < height)) {
        frame = wider;
      }
    });
    var to = function (from, size, low, high) { return Math.min(Math.max(from, high + margin - size), low - margin); };
    var x = to(view.x, width, frame.x, frame.right);
    var y = to(view.y, height, frame.y, frame.bottom);
    cancelAnimationFrame(moving);
    if (calm.matches) {
      view.x = x;
      view.y = y;
      place();
      return;
    }
    var start = performance.now();
    var fromX = view.x;
    var fromY = view.y;
    var move = function (now) {
      var t = Math.max(0, Math.min(1, (now - start) / 200));
      var eased = t * (2 - t);
      view.x = fromX + (x - fromX) * eased;
      view.y = fromY + (y - fromY) * eased;
      place();
      if (t < 1) {
        moving = requestAnimationFrame(move);
      }
    };
    if (x !== fromX || y !== fromY) {
      moving = requestAnimationFrame(move);
    }
  }

  /* ------------------------------------------------------------------------------------- one box's numbers */

  var now = boxes.map(function (box, i) { return { data: data.boxes[i][2], grad: data.boxes[i][3] }; });
  var current = 0;
  var told = 0;

  function described(i) {
    var box = data.boxes[i];
    return [box[0], box[1], "data " + (now[i].data || "not computed yet"), "gradient " + (now[i].grad || "none yet")]
      .filter(function (word) { return word; }).join(", ");
  }

  function tell(i) {
    told = i;
    by("details").textContent = described(i);
  }

  function enter(i) {
    boxes[current].setAttribute("tabindex", "-1");
    current = i;
    boxes[i].setAttribute("tabindex", "0");
  }

  boxes.forEach(function (box, i) {
    box.setAttribute("role", "img");
    box.setAttribute("tabindex", "-1");
    box.setAttribute("aria-label", described(i));
    box.addEventListener("pointerenter", function () { tell(i); });
    box.addEventListener("focus", function () {
      enter(i);
      tell(i);
      reveal([box]);
    });
  });
  if (boxes.length) {
    enter(0);
  }

  /* -------------------------------------------------------------------------------------------- the steps */

  var PHASES = ["Leaves", "Forward pass", "Backward pass", "Backward pass"];
  var step = 0;
  var path = null;
  var timer = 0;

  function number(i, kind, text, exact) {
    now[i][kind] = exact;
    if (cells[i][kind].textContent !== text) {
      cells[i][kind].textContent = text;
    }
  }

  function light(changed, kind, litEdges, litBoxes) {
    var ends = [];
    litEdges.forEach(function (e) { ends.push(data.edges[e][0], data.edges[e][1]); });
    boxes.forEach(function (box, i) {
      box.classList.toggle("lit", litBoxes.indexOf(i) >= 0);
      box.classList.toggle("beside", ends.indexOf(i) >= 0);
      box.classList.toggle("waiting", !now[i].data);
      cells[i].data.classList.toggle("changed", i === changed && kind === "data");
      cells[i].grad.classList.toggle("changed", i === changed && kind === "grad");
      box.setAttribute("aria-label", described(i));
    });
    edges.forEach(function (edge, i) { edge.classList.toggle("lit", litEdges.indexOf(i) >= 0); });
    reveal((changed === null ? litBoxes : [changed]).map(function (i) { return boxes[i]; }).concat(litEdges.map(function (i) { return edges[i]; })));
    if (stage.querySelector(":hover, :focus")) {
      tell(told);
    }
  }

  function say(phase, parts, note) {
    by("phase").textContent = phase;
    var line = by("equation");
    line.textContent = "";
    line.classList.toggle("long", parts.join("").length > 100);
    parts.forEach(function (part, i) {
      var piece = i % 2 ? document.createElement("mark") : document.createTextNode(part);
      if (i % 2) {
        piece.textContent = part;
      }
      line.appendChild(piece);
    });
    by("note").textContent = note;
    by("slider").setAttribute("aria-valuetext", parts.join(""));
  }

  /* The box of a step: a step of the backward pass has its edge instead. */
  function changing(s) {
    return s[0] === 3 ? data.edges[s[1]][0] : s[1];
  }

  function derivative(of, by) {
    return data.boxes[of][5] + "/" + data.boxes[by][5];
  }

  function local(edge) {
    return derivative(edge[1], edge[0]);
  }

  /* The line of a step: in the backward pass, the term that an edge passes on. */
  function line(s) {
    if (s[0] !== 3) {
      return [s[4]];
    }
    var edge = data.edges[s[1]];
    var begin = derivative(data.root, edge[0]) + " += " + derivative(data.root, edge[1]) + " * ";
    return [begin, local(edge), " = " + data.boxes[edge[1]][6] + " * ", edge[2], " = " + s[4]];
  }

  /* Every number as it stands after step k, replayed from the start. */
  function replay(k) {
    var backward = data.steps[k][0] >= 2;
    boxes.forEach(function (box, i) {
      var given = data.boxes[i][4];
      number(i, "data", given || "?", given ? data.boxes[i][2] : "");
      number(i, "grad", backward ? "0" : "—", backward ? "0" : "");
    });
    data.steps.slice(0, k + 1).forEach(function (s) {
      if (s[0]) {
        number(changing(s), s[0] === 1 ? "data" : "grad", s[2], s[3] || data.boxes[changing(s)][s[0] === 1 ? 2 : 3]);
      }
    });
  }

  function count(k) {
    var kind = function (s) { return Math.min(s[0], 2); };
    var phase = kind(data.steps[k]);
    var same = data.steps.filter(function (s) { return kind(s) === phase; }).length;
    var before = data.steps.slice(0, k + 1).filter(function (s) { return kind(s) === phase; }).length;
    return phase ? ", " + before + " of " + same : "";
  }

  function showStep(k) {
    var s = data.steps[k];
    replay(k);
    var i = changing(s);
    say(PHASES[s[0]] + count(k), line(s), data.notes[s[5]]);
    var leaves = data.boxes.map(function (box, j) { return j; }).filter(function (j) { return data.boxes[j][4]; });
    light(s[0] ? i : null, s[0] === 1 ? "data" : "grad", s[0] === 3 ? [s[1]] : s[6], s[0] ? [i] : leaves);
  }

  function shortened(words) {
    return words.length > 12 ? words.slice(0, 6).concat(["…"], words.slice(-6)) : words;
  }

  function plus(number) {
    return number.charAt(0) === "-" ? " - " + number.slice(1) : " + " + number;
  }

  /* What the paths add up to. */
  function ending() {
    var total = derivative(data.root, path.box) + " = " + path.total + ".";
    if (path.count === "1") {
      return "The only path: " + total;
    }
    if (path.all) {
      return "All " + path.count + " paths add up to the gradient: " + total;
    }
    return "The " + path.shown.length + " largest of " + path.count + " paths are played; all of them add up to " + total;
  }

  function showPath(k) {
    var last = data.steps.length - 1;
    replay(last);
    var one = path.shown[k];
    var via = one[0].map(function (e) { return data.edges[e]; });
    var names = shortened(via.map(local)).join(" * ");
    var numbers = shortened(via.map(function (e) { return e[2]; })).join(" * ");
    var text = via.length ? names + " = " + numbers + (via.length > 1 ? " = " + one[1] : "") : derivative(data.root, path.box) + " = 1";
    var sum = k ? "Sum so far: " + path.shown[k - 1][2] + plus(one[1]) + " = " + one[2] + ". " : "";
    say("Path " + (k + 1) + " of " + path.count + ", largest first", [text], sum + (k === path.shown.length - 1 ? ending() : ""));
    number(path.box, "grad", one[3], one[2]);
    light(path.box, "grad", one[0], [path.box]);
  }

  function length() {
    return path ? path.shown.length : data.steps.length;
  }

  function show(k) {
    step = Math.max(0, Math.min(length() - 1, k));
    stage.classList.toggle("tracing", Boolean(path));
    (path ? showPath : showStep)(step);
    var slider = by("slider");
    slider.max = String(length() - 1);
    slider.value = String(step);
    by("count").textContent = step + 1 + " / " + length();
    ["first", "previous"].forEach(function (id) { by(id).setAttribute("aria-disabled", String(step === 0)); });
    ["next", "last"].forEach(function (id) { by(id).setAttribute("aria-disabled", String(step === length() - 1)); });
  }

  function pause() {
    clearInterval(timer);
    timer = 0;
    document.body.classList.remove("playing");
    by("play").setAttribute("aria-label", "Play");
    by("line").setAttribute("aria-live", "polite");
  }

  function play() {
    if (timer) {
      pause();
      return;
    }
    if (step === length() - 1) {
      show(0);
    }
    document.body.classList.add("playing");
    by("play").setAttribute("aria-label", "Pause");
    by("line").setAttribute("aria-live", "off");
    timer = setInterval(function () {
      show(step + 1);
      if (step === length() - 1) {
        pause();
      }
    }, Math.max(300, Math.min(1200, 90000 / length())));
  }

  function go(k) {
    pause();
    show(k);
  }

  function choose(chosen) {
    path = chosen;
    by("passes").setAttribute("aria-pressed", String(!path));
    by("sum").setAttribute("aria-pressed", String(Boolean(path)));
    by("leaf-label").hidden = !path;
    if (path && fitting() > 0.45) {
      fit(0);
    }
    go(0);
  }

  /* ------------------------------------------------------------------------------------------ the controls */

  function dark() {
    var chosen = document.documentElement.getAttribute("data-theme");
    return chosen ? chosen === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function nameTheme() {
    by("theme").textContent = dark() ? "Light" : "Dark";
    by("theme").setAttribute("aria-label", dark() ? "Light colours" : "Dark colours");
  }

  by("theme").addEventListener("click", function () {
    document.documentElement.setAttribute("data-theme", dark() ? "light" : "dark");
    nameTheme();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
  by("in").addEventListener("click", function () { zoom(1.25); });
  by("out").addEventListener("click", function () { zoom(0.8); });
  by("fit").addEventListener("click", function () { fit(0); });
  by("first").addEventListener("click", function () { go(0); });
  by("previous").addEventListener("click", function () { go(step - 1); });
  by("next").addEventListener("click", function () { go(step + 1); });
  by("last").addEventListener("click", function () { go(length() - 1); });
  by("play").addEventListener("click", play);
  by("slider").addEventListener("input", function (event) { go(Number(event.target.value)); });
  by("passes").addEventListener("click", function () { choose(null); });
  by("sum").addEventListener("click", function () { choose(data.paths[by("leaf").selectedIndex]); });
  by("leaf").addEventListener("change", function (event) { choose(data.paths[event.target.selectedIndex]); });
  data.paths.forEach(function (leaf) {
    var option = document.createElement("option");
    option.textContent = data.boxes[leaf.box][0] + " (" + leaf.count + (leaf.count === "1" ? " path)" : " paths)");
    by("leaf").appendChild(option);
  });

  /* In a frame the wheel scrolls the notebook until the picture has been clicked. */
  stage.addEventListener("wheel", function (event) {
    if (framed && !event.ctrlKey && !stage.contains(document.activeElement)) {
      return;
    }
    event.preventDefault();
    var corner = stage.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - corner.left, event.clientY - corner.top);
  }, { passive: false });

  stage.addEventListener("pointerdown", function (event) {
    if (event.button === 0) {
      stage.setPointerCapture(event.pointerId);
      stage.classList.add("held");
    }
  });
  stage.addEventListener("pointermove", function (event) {
    if (stage.classList.contains("held")) {
      pan(-event.movementX, -event.movementY);
    }
  });
  ["pointerup", "pointercancel"].forEach(function (kind) {
    stage.addEventListener(kind, function () { stage.classList.remove("held"); });
  });

  var ARROWS = { ArrowLeft: [-60, 0], ArrowRight: [60, 0], ArrowUp: [0, -60], ArrowDown: [0, 60] };

  /* Keys of the picture: true where one was meant. */
  function pictureKey(event) {
    if (event.shiftKey && ARROWS[event.key]) {
      pan(ARROWS[event.key][0], ARROWS[event.key][1]);
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      var next = current + (event.key === "ArrowUp" ? -1 : 1);
      boxes[Math.max(0, Math.min(boxes.length - 1, next))].focus();
    } else if (event.key === "+" || event.key === "=") {
      zoom(1.25);
    } else if (event.key === "-") {
      zoom(0.8);
    } else if (event.key === "0") {
      fit(0);
    } else {
      return false;
    }
    return true;
  }

  function stepKey(event) {
    var on = event.target.tagName;
    if (event.key === " ") {
      if (on === "BUTTON") {
        return false;
      }
      play();
      return true;
    }
    var to = { ArrowLeft: step - 1, ArrowRight: step + 1, Home: 0, End: length() - 1 }[event.key];
    if (to === undefined || on === "INPUT" || event.shiftKey) {
      return false;
    }
    go(to);
    return true;
  }

  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") {
      return;
    }
    var steps = data.steps.length > 0;
    if ((stage.contains(event.target) && pictureKey(event)) || (steps && stepKey(event))) {
      event.preventDefault();
    }
  });

  new ResizeObserver(place).observe(stage);
  document.body.classList.remove("still");
  if (!data.steps.length) {
    document.body.classList.add("plain");
  }
  by("sum").disabled = !data.paths.length;
  nameTheme();
  fit(1);
  if (data.steps.length) {
    show(0);
  }
}());
