// An image to draw on, or to rub out parts of: with a pen, a finger, a mouse, or the arrow keys and the space bar.
export default {
  template: `
    <canvas class="painter" :width="width" :height="height" tabindex="0" role="application" :aria-label="label"
      @pointerdown="began" @pointermove="moved" @pointerup="ended" @pointercancel="ended" @keydown="keyed"
      @focus="show(true)" @blur="show(false)"></canvas>`,
  props: { src: String, holes: String, width: Number, height: Number, mode: String, ink: String, size: Number, label: String },
  data() {
    return { cursor: null, stroke: false };
  },
  mounted() {
    const layer = () => Object.assign(document.createElement("canvas"), { width: this.width, height: this.height });
    [this.pixels, this.rubbed] = [layer(), layer()];
    this.load();
  },
  watch: {
    src: "load",
    holes: "load",
  },
  methods: {
    async load() {
      if (this.stroke || !this.src) return;
      const [src, holes] = [this.src, this.holes];
      const image = async (url) => {
        const made = new Image();
        made.src = url;
        await made.decode();
        return made;
      };
      const [picture, mask] = [await image(src), holes ? await image(holes) : null];
      if (src !== this.src || holes !== this.holes) return;
      const pen = this.pixels.getContext("2d");
      pen.drawImage(picture, 0, 0);
      const rubber = this.rubbed.getContext("2d");
      rubber.fillStyle = "#000";
      rubber.fillRect(0, 0, this.width, this.height);
      if (mask) rubber.drawImage(mask, 0, 0);
      this.paint();
    },
    paint() {
      const context = this.$el.getContext("2d");
      context.drawImage(this.pixels, 0, 0);
      const data = context.getImageData(0, 0, this.width, this.height);
      const mask = this.rubbed.getContext("2d").getImageData(0, 0, this.width, this.height).data;
      for (let at = 0; at < mask.length; at += 4) {
        if (mask[at] < 128) continue;
        const odd = ((at / 4) % this.width) + Math.floor(at / 4 / this.width);
        data.data.set(odd % 2 ? [196, 106, 62, 255] : [168, 82, 42, 255], at);
      }
      context.putImageData(data, 0, 0);
      if (this.cursor) {
        context.strokeStyle = "#4d9de0";
        context.lineWidth = 0.25;
        context.strokeRect(this.cursor[0] + 0.12, this.cursor[1] + 0.12, 0.76, 0.76);
      }
    },
    dab(x, y) {
      const layer = this.mode === "rub" ? this.rubbed : this.pixels;
      const context = layer.getContext("2d");
      context.fillStyle = this.mode === "rub" ? "#fff" : this.ink;
      const start = (value) => Math.round(value + 0.5 - this.size / 2);
      context.fillRect(start(x), start(y), this.size, this.size);
    },
    place(event) {
      const box = this.$el.getBoundingClientRect();
      const cell = (share, count) => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
      return [cell((event.clientX - box.left) / box.width, this.width), cell((event.clientY - box.top) / box.height, this.height)];
    },
    began(event) {
      if (event.button) return;
      try { this.$el.setPointerCapture(event.pointerId); } catch { /* a pointer that is gone */ }
      this.stroke = true;
      this.last = this.place(event);
      this.dab(...this.last);
      this.paint();
    },
    moved(event) {
      if (!this.stroke) return;
      const [x, y] = this.place(event);
      const steps = Math.max(1, Math.abs(x - this.last[0]), Math.abs(y - this.last[1]));
      for (let n = 1; n <= steps; n++) {
        this.dab(Math.round(this.last[0] + ((x - this.last[0]) * n) / steps), Math.round(this.last[1] + ((y - this.last[1]) * n) / steps));
      }
      this.last = [x, y];
      this.paint();
    },
    ended() {
      if (!this.stroke) return;
      this.stroke = false;
      this.tell();
    },
    tell() {
      const rub = this.mode === "rub";
      this.$emit(rub ? "rub" : "draw", (rub ? this.rubbed : this.pixels).toDataURL("image/png"));
    },
    show(focused) {
      this.cursor = focused && this.$el.matches(":focus-visible") ? [Math.floor(this.width / 2), Math.floor(this.height / 2)] : null;
      this.paint();
    },
    keyed(event) {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      this.cursor ??= [Math.floor(this.width / 2), Math.floor(this.height / 2)];
      if (event.key in moves) {
        const [dx, dy] = moves[event.key];
        this.cursor = [Math.min(this.width - 1, Math.max(0, this.cursor[0] + dx)), Math.min(this.height - 1, Math.max(0, this.cursor[1] + dy))];
        if (event.shiftKey) this.dab(...this.cursor);
      } else if (event.key === " " || event.key === "Enter") {
        this.dab(...this.cursor);
        this.tell();
      } else return;
      event.preventDefault();
      this.paint();
    },
  },
};
