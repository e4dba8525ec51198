// Trains the tokenizer with Hugging Face tokenizers: byte-level BPE with 8,192 tokens. Needs Node.js 20 and `npm install` in this folder.
//   node train-tokenizer.js CORPUS FOLDER       CORPUS contains training/*.jsonl; FOLDER is where tokenizer.json is written
// Ids: 0 is the end of a text, 1 to 256 are the bytes, and the rest are merges in the order in which they were learned.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { BPE, Tokenizer, byteLevelPreTokenizer } from 'tokenizers';

const vocabularySize = 8192, everyDocument = 4, endOfText = '<|endoftext|>';
const [folder, target] = process.argv.slice(2);
if (!target) throw new Error('usage: node train-tokenizer.js CORPUS FOLDER');

// every fourth document of each package is enough for 7,935 merges
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'tokenizer-')), sample = path.join(work, 'sample.txt'), trained = path.join(work, 'trained.json');
for (const name of fs.readdirSync(path.join(folder, 'training')).sort()) {
  const lines = fs.readFileSync(path.join(folder, 'training', name), 'utf8').split('\n').filter(line => line);
  fs.appendFileSync(sample, lines.filter((_, i) => i % everyDocument === 0).map(line => JSON.parse(line).text + '\n').join(''));
}
const tokenizer = new Tokenizer(BPE.empty());
tokenizer.setPreTokenizer(byteLevelPreTokenizer(false));
tokenizer.train([sample]);
tokenizer.save(trained);

// the trainer learns 30,000 tokens; merges are learned one after another, so a smaller vocabulary consists of the first ones
const learned = JSON.parse(fs.readFileSync(trained, 'utf8')).model;
const pairs = learned.merges.map(merge => typeof merge === 'string' ? merge.split(' ') : merge);
const bytes = [...Array(256).keys()], visible = code => (code > 32 && code < 127) || (code > 160 && code !== 173 && code < 256);
let next = 256;
const alphabet = bytes.map(code => String.fromCharCode(visible(code) ? code : next++));
const tokens = [endOfText, ...alphabet], merges = [], known = new Set(tokens);
for (const [left, right] of pairs) {
  if (tokens.length === vocabularySize) break;
  merges.push([left, right]);
  if (!known.has(left + right)) {
    known.add(left + right);
    tokens.push(left + right);
  }
}
const special = { id: 0, content: endOfText, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
fs.mkdirSync(target, { recursive: true });
fs.writeFileSync(path.join(target, 'tokenizer_config.json'), JSON.stringify({ eos_token: endOfText }) + '\n');
fs.writeFileSync(path.join(target, 'tokenizer.json'), JSON.stringify({
  version: '1.0', truncation: null, padding: null, added_tokens: [special], normalizer: null, pre_tokenizer: byteLevel, post_processor: null,
  decoder: byteLevel,
  model: {
    type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false,
    ignore_merges: false, vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges: merges.map(pair => pair.join(' ')),
  },
}, null, 0) + '\n');
fs.rmSync(work, { recursive: true });
console.log(`${tokens.length} tokens, ${merges.length} merges`);
