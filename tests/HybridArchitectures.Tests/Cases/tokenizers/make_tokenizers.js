// Makes small tokenizers in the layouts of several families and records what the tokenizers library (0.23.2, its binding for node) gives for them.
//   npm install tokenizers@0.23.2 && node make_tokenizers.js ../tokenizer/cases.json OUT
// A folder each: tokenizer.json, tokenizer_config.json, cases.json (fields as in ../tokenizer).
const fs = require("fs"), path = require("path"), { Tokenizer } = require("tokenizers");
const [texts, out] = process.argv.slice(2);

let state = 20261126;
const random = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32);

// the printable spelling of bytes
const spell = [];
for (let byte = 0, next = 256; byte < 256; byte++) {
  const plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  spell.push(String.fromCharCode(plain ? byte : next++));
}
const spelled = text => [...Buffer.from(text, "utf8")].map(byte => spell[byte]);

// merges of a corpus, most frequent pair first
function train(corpus, count) {
  const words = new Map();
  for (const piece of corpus.match(/ ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+/gu)) words.set(piece, (words.get(piece) ?? 0) + 1);
  const parts = [...words].map(([word, n]) => [spelled(word), n]), merges = [];
  while (merges.length < count) {
    const pairs = new Map();
    for (const [symbols, n] of parts) for (let i = 0; i + 1 < symbols.length; i++) {
      const key = symbols[i] + "\n" + symbols[i + 1];
      pairs.set(key, (pairs.get(key) ?? 0) + n);
    }
    const best = [...pairs].filter(([, n]) => n > 1).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0];
    if (!best) break;
    const [left, right] = best[0].split("\n");
    merges.push([left, right]);
    for (const [symbols] of parts) for (let i = 0; i + 1 < symbols.length; i++) if (symbols[i] === left && symbols[i + 1] === right) symbols.splice(i, 2, left + right);
  }
  return merges;
}

const recorded = JSON.parse(fs.readFileSync(texts)).cases.map(one => one.text);
const more = ["a1b22c333d4444e55555 1,234,567.89", "x=y+z; if(a!=b){c+=1;}//!!!???...", "½ ²³ Ⅷ ٣٤٥ 1٢3", "   three   blanks\n\n\tand\ttabs  ", "don't WE'LL I'M they'Re", "ÀÉÎõü straße Größe naïve", "привет мир 你好世界 こんにちは 안녕", "end of <|endoftext|> here<|im_end|>",
  "e\u0301a\u0308 combining", "\u212B \uF900", "  ", "(((())))[[{{<<>>}}]]", "12", "123", "1234", "12345678901234567890"];
const lines = recorded.concat(more), corpus = lines.join("\n") + " the model reads the text and the text reads the model again and again 100 200 300 1000 2026".repeat(8);

const byteLevel = use_regex => ({ type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex });
const split = (Regex, behavior = "Isolated", invert = false) => ({ type: "Split", pattern: { Regex }, behavior, invert });
const sequence = (...pretokenizers) => ({ type: "Sequence", pretokenizers });
const qwen = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const cased = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}"
  + "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const plain = { ids: "in order", special: ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], words: [], normalizer: null, ignore_merges: false, begin: null, pairs: true };
const layouts = {
  gpt_neox: { ...plain, first: true, words: ["  ", "   "], pre_tokenizer: byteLevel(true) },
  qwen: { ...plain, normalizer: { type: "NFC" }, pre_tokenizer: sequence(split(qwen), byteLevel(false)) },
  falcon: { ...plain, ids: "shuffled", pre_tokenizer: sequence({ type: "Punctuation", behavior: "Contiguous" }, byteLevel(true), { type: "Digits", individual_digits: false }, split("[0-9][0-9][0-9]")) },
  granite: { ...plain, ids: "shuffled", pairs: false, pre_tokenizer: sequence({ type: "Digits", individual_digits: true }, byteLevel(true)) },
  nemotron: { ...plain, ignore_merges: true, begin: "<|endoftext|>", pre_tokenizer: sequence(split(cased), byteLevel(false)) },
  // as GPT-NeoX-20B: runs of blanks are searched in the normalised text, the bytes that UTF-8 never uses have no token, spans are trimmed
  neox: { ...plain, first: true, missing: true, trims: true, words: ["  ", "   ", "    ", "\n  "], normalizer: { type: "NFC" }, pre_tokenizer: byteLevel(true),
    texts: ["a   b", "x\n        y", " hell\n  all", "e\u0301 and \u00E9", "<|endoftext|>  hello", "      ", "o\u0308\u0323 e\u0301\u0323\u0301a   \uD55C\u1100\u1161\u11A8", "\u212B\u0323\u0323\u0301a"] },
  strips: { ...plain, trims: true, normalizer: { type: "NFC" }, pre_tokenizer: sequence(split(qwen), byteLevel(false)),
    tokens: [{ content: "<mask>", lstrip: true, special: true }, { content: "<sep>", rstrip: true, special: true }, { content: "<both>", lstrip: true, rstrip: true }, { content: "word", single_word: true },
      { content: "\u0439\u0448", normalized: true }, { content: "wordy" }, { content: "\u0439\u045E", normalized: true }],
    texts: ["a <mask> b", "a  <mask>  b", "<mask>", "  <mask>", "a<sep> \n b<sep>", " <both> <both>  x", "word words sword wordy word_ word. (word)", "\u00E9word word\u0301 \u{1D400}word word\u{1F642}", "\u0438\u0306\u0448 \u0439\u0448", "\u0439\u045E \u0438\u0306\u0443\u0306 \u0438\u0306\u045E", "<mask><mask> <sep> <sep>", "word word<mask> word"] },
  astral: { ...plain, pre_tokenizer: sequence(split("[\\x{10400}-\\x{1044F}A-Za-z]+|[\u{1F600}-\u{1F64F}]|(?i:'[sk])|\\p{N}{1,3}+|[^\\p{L}\\p{N}\\s]++|\\s+(?!\\S)|\\s|[\u0800-\u4E00&&[^\u0900-\u0A00]]+|."), byteLevel(false)),
    texts: ["\u{10400}\u{1044F}abc\u{10450}", "\u{1F600}\u{1F601}!\u{1F64F}\u{1F650}\u{1F642}", "x's X'S 'K '\u212A '\u017F '\u{1F642}", "12345 \u{1D7D8}\u{1D7D9}\u{1D7DA}7", "!?\u{1F9E0}\u{1D16F} \u{1D165}x", "\u4E00\u5B57\u0905\u0B05\u{20000}\u{20001}", " \u{1F642}", "\u{1D16F}\u0B3E\u{1D165}"] },
  removed: { ...plain, pre_tokenizer: sequence(split(qwen, "Removed", true), { type: "Split", pattern: { String: "the" }, behavior: "Isolated", invert: false }, { type: "Punctuation", behavior: "Isolated" }, byteLevel(false)) },
};

async function make(name, layout) {
  const merges = train(corpus, 260), unused = byte => byte === 0xc0 || byte === 0xc1 || byte >= 0xf5, symbols = spell.filter((_, byte) => !(layout.missing && unused(byte))).concat(merges.map(([left, right]) => left + right).filter((token, at, all) => all.indexOf(token) === at));
  // a token that no merge makes, which only a whole piece is
  if (layout.ignore_merges) symbols.push(spelled(" Größe").join(""));
  const order = symbols.map((_, id) => id);
  if (layout.ids === "shuffled") for (let i = order.length - 1; i > 0; i--) { const j = Math.floor(random() * (i + 1)); [order[i], order[j]] = [order[j], order[i]]; }
  const vocab = {}, added = [], base = layout.first ? 1 : 0;
  symbols.forEach((token, at) => (vocab[token] = order[at] + base));
  const add = (content, id, special) => added.push({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: !special, special });
  if (layout.first) { vocab["<|endoftext|>"] = 0; add("<|endoftext|>", 0, true); }
  let next = symbols.length + base;
  for (const text of layout.special.filter(text => !(layout.first && text === "<|endoftext|>"))) add(text, next++, true);
  for (const text of layout.words) add(text, next++, false);
  for (const token of layout.tokens ?? []) added.push({ id: next++, single_word: false, lstrip: false, rstrip: false, normalized: false, special: false, ...token });
  const own = { SpecialToken: { id: layout.begin, type_id: 0 } }, other = { SpecialToken: { id: layout.begin, type_id: 1 } }, a = { Sequence: { id: "A", type_id: 0 } }, b = { Sequence: { id: "B", type_id: 1 } };
  const post_processor = layout.begin === null ? { type: "ByteLevel", add_prefix_space: false, trim_offsets: layout.trims ?? false, use_regex: true }
    : { type: "TemplateProcessing", single: [own, a], pair: [own, a, other, b], special_tokens: { [layout.begin]: { id: layout.begin, ids: [added.find(token => token.content === layout.begin).id], tokens: [layout.begin] } } };
  const json = { version: "1.0", truncation: null, padding: null, added_tokens: added, normalizer: layout.normalizer, pre_tokenizer: layout.pre_tokenizer, post_processor, decoder: byteLevel(true),
    model: { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: layout.ignore_merges, vocab,
      merges: layout.pairs ? merges : merges.map(pair => pair.join(" ")) } };
  const folder = path.join(out, name);
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, "tokenizer.json"), JSON.stringify(json));
  fs.writeFileSync(path.join(folder, "tokenizer_config.json"), JSON.stringify({ eos_token: "<|endoftext|>", pad_token: { content: "<|im_end|>" } }));
  const tokenizer = Tokenizer.fromFile(path.join(folder, "tokenizer.json")), cases = [], partial_decodes = [], pairs = [];
  for (const text of lines.concat(layout.texts ?? [])) {
    const one = await tokenizer.encode(text, null, { addSpecialTokens: false }), begun = await tokenizer.encode(text, null, { addSpecialTokens: true }), ids = one.getIds();
    cases.push({ text, ids, tokens: ids.map(id => tokenizer.idToToken(id)), offsets: one.getOffsets(), ids_with_bos: begun.getIds(), decoded: await tokenizer.decode(ids, false), decoded_without_special: await tokenizer.decode(ids, true) });
    if (ids.length > 2 && /[^\x00-\x7f]/.test(text)) partial_decodes.push({ ids: ids.slice(1, -1), decoded: await tokenizer.decode(ids.slice(1, -1), false) });
  }
  for (let at = 0; at + 1 < 12; at += 2) {
    const [first, second] = [lines[at * 5], lines[at * 5 + 1]], pair = await tokenizer.encode(first, second, { addSpecialTokens: true });
    pairs.push({ first, second, ids: pair.getIds(), type_ids: pair.getTypeIds(), offsets: pair.getOffsets() });
  }
  fs.writeFileSync(path.join(folder, "cases.json"), JSON.stringify({ cases, partial_decodes, pairs }));
  console.log(name, symbols.length, cases.length, cases.reduce((sum, one) => sum + one.ids.length, 0));
}

(async () => {
  for (const [name, layout] of Object.entries(layouts)) await make(name, layout);
})();
