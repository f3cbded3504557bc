// Examples in two dimensions of the latent. A click, or Enter at the crosshair that the arrow keys move, picks a place; near
// an example it picks that.
const NEAR = 0.035; // of the side
export default {
  template: `
    <svg class="scatter" viewBox="-0.14 -0.02 1.16 1.11" tabindex="0" role="application" :aria-label="label"
      @click="clicked" @keydown="keyed">
      <rect x="0" y="0" width="1" height="1" class="plane" rx="0.01" />
      <g v-for="tick in ticks" :key="tick.value" class="tick" aria-hidden="true">
        <line :x1="tick.at" :x2="tick.at" y1="0" y2="1" /><line :y1="1 - tick.at" :y2="1 - tick.at" x1="0" x2="1" />
        <text :x="tick.at" y="1.045" text-anchor="middle">{{ tick.value }}</text>
        <text x="-0.015" :y="1.012 - tick.at" text-anchor="end">{{ tick.value }}</text>
      </g>
      <g v-for="point in placed" :key="point.row" class="point" :data-row="point.row" :style="{ color: point.colour }">
        <text v-if="point.glyph" :x="point.x" :y="point.y" dy="0.011" text-anchor="middle">{{ point.glyph }}</text>
        <circle v-else :cx="point.x" :cy="point.y" r="0.0085" />
        <title>{{ point.title }}</title>
      </g>
      <g class="mark" aria-hidden="true" :transform="'translate(' + here.x + ' ' + here.y + ')'">
        <circle r="0.024" /><line x1="-0.05" x2="-0.012" /><line x1="0.012" x2="0.05" />
        <line y1="-0.05" y2="-0.012" /><line y1="0.012" y2="0.05" />
      </g>
      <text x="0.5" y="1.085" text-anchor="middle" class="axis">{{ across }}</text>
      <text x="-0.085" y="0.5" text-anchor="middle" class="axis" transform="rotate(-90 -0.085 0.5)">{{ up }}</text>
    </svg>`,
  props: { points: Array, classes: Array, mark: Array, extent: Number, across: String, up: String, label: String },
  data() {
    return { cursor: [...this.mark] };
  },
  computed: {
    ticks() {
      const step = this.extent > 6 ? 4 : this.extent > 3 ? 2 : 1;
      const count = Math.floor(this.extent / step);
      return Array.from({ length: 2 * count + 1 }, (_, n) => (n - count) * step).map((value) => ({ value, at: this.at(value) }));
    },
    placed() {
      return this.points.map(([x, y, row, number]) => {
        const name = this.classes[number] ?? "";
        const hue = (number * 360) / Math.max(this.classes.length, 1);
        return {
          row, x: this.at(x), y: 1 - this.at(y), colour: `oklch(var(--point) 0.15 ${hue})`,
          glyph: name.length <= 2 ? name : "", title: `row ${row}${name ? ", " + name : ""}`,
        };
      });
    },
    here() {
      return { x: this.at(this.cursor[0]), y: 1 - this.at(this.cursor[1]) };
    },
  },
  watch: {
    mark(value) {
      this.cursor = [...value];
    },
  },
  methods: {
    at(value) {
      return Math.min(1, Math.max(0, (value / this.extent + 1) / 2));
    },
    clicked(event) {
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.$el.getScreenCTM().inverse());
      this.pick(place.x, place.y);
    },
    pick(x, y) {
      const distance = (point) => Math.hypot(point.x - x, point.y - y);
      const nearest = this.placed.reduce((best, point) => (!best || distance(point) < distance(best) ? point : best), null);
      const value = (share) => Math.min(1, Math.max(-1, 2 * share - 1)) * this.extent;
      const row = nearest && distance(nearest) < NEAR ? nearest.row : null;
      this.$emit("pick", { x: value(x), y: value(1 - y), row });
    },
    keyed(event) {
      const step = this.extent / (event.shiftKey ? 4 : 20);
      const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      if (event.key in moves) {
        const clip = (value) => Math.min(this.extent, Math.max(-this.extent, value));
        this.cursor = this.cursor.map((value, n) => clip(value + moves[event.key][n]));
      } else if (event.key === "Enter" || event.key === " ") {
        this.pick(this.here.x, this.here.y);
      } else return;
      event.preventDefault();
    },
  },
};
