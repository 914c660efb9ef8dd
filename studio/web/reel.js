// One or several clips played by one control: play, pause, scrub and single frames, all of them in step.

const reelFrameOf = (clip) => 1 / (clip.fps || 25);

// reelPart(clips, {label(clip)}): the first clip that is the longest leads. `node` holds the pictures, `controls` the control.
function reelPart(clips, { caption = () => null } = {}) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const videos = clips.map((clip) => {
    const video = h("video", { src: clip.url, muted: true, playsInline: true, preload: "auto", tabIndex: -1, onclick: toggle });
    video.setAttribute("aria-label", clip.title);
    if (clip.width) video.style.setProperty("--shape", clip.width / clip.height);
    return video;
  });
  const lengths = () => clips.map((clip, place) => (clip.num_frames ? clip.num_frames * reelFrameOf(clip) : videos[place].duration || 0));
  const lead = () => lengths().reduce((best, one, place, all) => (one > all[best] ? place : best), 0);
  const frameS = () => reelFrameOf(clips[lead()]);
  const count = () => Math.max(1, Math.round(lengths()[lead()] / frameS()));

  const button = h("button", { type: "button", class: "play", onclick: toggle });
  const scrub = h("input", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": say("reel_scrub"), oninput: () => show(Number(scrub.value)) });
  const readout = h("output", { class: "quiet" });
  const stepBack = h("button", { type: "button", class: "step", "aria-label": say("reel_back"), title: say("reel_back"), onclick: () => show(frame() - 1) }, "‹");
  const stepOn = h("button", { type: "button", class: "step", "aria-label": say("reel_on"), title: say("reel_on"), onclick: () => show(frame() + 1) }, "›");
  const controls = h("div", { class: "reel-controls" }, button, stepBack, stepOn, scrub, readout);
  const node = h("div", { class: `reel of-${clips.length}` }, clips.map((clip, place) => h("figure", {}, videos[place], caption(clip))));

  let playing = false;
  let rate = 1;
  let from = 0; // the frames that are played, [from, to)
  let to = null;
  let aligning = null; // the promise of all videos standing at one time
  let wanted = null; // the frame that is shown as soon as the one before is there
  let closed = false;

  const last = () => Math.min(to === null ? count() : to, count()) - 1;
  const frame = () => Math.max(0, Math.min(count() - 1, wanted !== null ? wanted : Math.floor(videos[lead()].currentTime / frameS() + 1e-3)));

  function tell() {
    const now = frame();
    scrub.max = count() - 1;
    scrub.value = now;
    write(readout, say("reel_at", { frame: now + 1, count: count(), seconds: ((now + 1) * frameS()).toFixed(2) }));
    scrub.setAttribute("aria-valuetext", readout.textContent);
    const words = playing ? say("reel_pause") : say("reel_play");
    button.setAttribute("aria-label", words);
    button.title = words;
    button.classList.toggle("on", playing);
  }

  // A clip that is over stands on its last frame.
  const timeOf = (place, time) => Math.max(0, Math.min(time, lengths()[place] - reelFrameOf(clips[place]) / 2));

  function seek(video, time) {
    if (video.error) return Promise.resolve();
    return new Promise((done) => {
      video.addEventListener("seeked", done, { once: true });
      video.addEventListener("error", done, { once: true });
      video.currentTime = time;
    });
  }

  const known = (video) =>
    video.readyState >= 1 || video.error
      ? Promise.resolve()
      : new Promise((done) => {
          video.addEventListener("loadedmetadata", done, { once: true });
          video.addEventListener("error", done, { once: true });
        });

  async function align(number) {
    const time = (number + 0.5) * frameS();
    for (const video of videos) video.pause();
    await Promise.all(videos.map(known));
    await Promise.all(videos.map((video, place) => seek(video, timeOf(place, time))));
  }

  // Shows one frame; while it is being fetched only the newest wish is remembered.
  async function show(number) {
    playing = false;
    wanted = Math.max(0, Math.min(count() - 1, number));
    tell();
    if (aligning) return aligning;
    aligning = (async () => {
      while (wanted !== null && !closed) {
        const next = wanted;
        await align(next);
        if (wanted === next) wanted = null;
      }
    })();
    await aligning;
    aligning = null;
    tell();
  }

  async function play(start = null) {
    if (playing || closed) return;
    if (aligning) await aligning;
    playing = true;
    tell();
    const now = frame();
    const begin = start !== null ? start : now < from || now >= last() ? from : now;
    await align(begin);
    if (!playing || closed) return;
    videos.forEach((video, place) => {
      video.playbackRate = rate;
      if (timeOf(place, begin * frameS()) === begin * frameS() || place === lead()) video.play().catch(() => pause());
    });
    requestAnimationFrame(keepStep);
  }

  function pause() {
    playing = false;
    for (const video of videos) video.pause();
    tell();
    if (videos.length > 1) show(frame()); // both stand on the same frame to the hair
  }

  function toggle() {
    if (playing) pause();
    else play();
  }

  // Looks at every frame of the screen whether the others are where the leader is; a little is made up for by their speed,
  // more by standing still together.
  function keepStep() {
    if (!playing || closed) return;
    const leader = videos[lead()];
    const time = leader.currentTime;
    if (leader.ended || time >= (last() + 1) * frameS() - 0.01) {
      playing = false;
      play(from);
      return;
    }
    let lost = false;
    videos.forEach((video, place) => {
      if (video === leader) return;
      if (time >= lengths()[place] - frameS() / 2) {
        if (!video.paused) video.pause();
        return;
      }
      const ahead = video.currentTime - time;
      lost = lost || Math.abs(ahead) > 0.9 * frameS();
      video.playbackRate = rate * Math.max(0.7, Math.min(1.3, 1 - ahead * 3));
    });
    if (lost) {
      playing = false;
      play(frame());
      return;
    }
    tell();
    requestAnimationFrame(keepStep);
  }

  for (const video of videos) video.addEventListener("loadedmetadata", tell);
  tell();

  return {
    node,
    controls,
    videos,
    show,
    pause,
    toggle,
    frame,
    begin: () => (still ? show(0) : play(0)),
    step: (by) => show(frame() + by),
    get playing() {
      return playing;
    },
    get count() {
      return count();
    },
    // what is played over and over, and how fast
    range(first, end, speed) {
      from = first;
      to = end;
      rate = Math.max(0.1, Math.min(10, speed || 1));
      for (const video of videos) video.playbackRate = rate;
    },
    close() {
      closed = true;
      playing = false;
      for (const video of videos) {
        video.pause();
        video.removeAttribute("src");
        video.load(); // lets go of the file
      }
    },
  };
}

// Space plays, arrows go frame by frame, wherever in `node` no other control wants these keys.
function reelKeys(node, reel) {
  node.addEventListener("keydown", (event) => {
    if (!reel() || event.ctrlKey || event.metaKey || event.altKey) return;
    const busy = event.target.matches("input, select, textarea");
    if (event.key === " " && !busy && event.target.tagName !== "BUTTON" && event.target.tagName !== "SUMMARY") reel().toggle();
    else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && !busy) reel().step(event.key === "ArrowLeft" ? -1 : 1);
    else return;
    event.preventDefault();
  });
}
