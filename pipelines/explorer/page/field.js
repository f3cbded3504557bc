// One labelled control: a slider, a choice, a number, a colour, a line of text. It keeps what is typed, so that an answer to
// an earlier event never takes the control out of a person's hand; `turn` counts how often the server has set it anew.
export default {
  template: `
    <div class="field" :class="kind">
      <div class="name"><label :for="key">{{ label }}</label><span v-if="note" :id="key + '-note'" class="note">{{ note }}</span><output v-if="kind === 'range'" :for="key">{{ shown }}</output></div>
      <select v-if="kind === 'select'" :id="key" v-model="local" @change="$emit('set', local)">
        <option v-for="option in options" :key="option.value" :value="option.value">{{ option.label }}</option>
      </select>
      <input v-else-if="kind === 'range'" :id="key" type="range" :min="min" :max="max" :step="step"
        v-model.number="local" :aria-valuetext="shown" :aria-describedby="note ? key + '-note' : undefined" @input="$emit('set', local)" />
      <input v-else :id="key" :type="kind" :min="min" :max="max" :step="step" :placeholder="placeholder" v-model="local"
        :inputmode="kind === 'number' ? 'decimal' : undefined" @change="$emit('set', String(local))" />
    </div>`,
  props: {
    kind: String, label: String, value: [String, Number], options: Array, min: Number, max: Number,
    step: [Number, String], placeholder: String, note: String, turn: Number, logarithmic: Boolean,
  },
  data() {
    return { local: this.value };
  },
  computed: {
    key() {
      return "field-" + this.$.uid;
    },
    shown() {
      const value = this.logarithmic ? 10 ** this.local : this.local;
      return String(Number(Number(value).toPrecision(3)));
    },
  },
  watch: {
    turn() {
      this.local = this.value;
    },
  },
};
