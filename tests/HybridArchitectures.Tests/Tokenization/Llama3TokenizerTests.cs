using System.Text;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Tests.Tokenization;

public class Llama3TokenizerTests
{
    static readonly Lazy<Llama3Tokenizer> FromJson = new(() => Llama3Tokenizer.FromJson(TokenizerCases.Json));
    static readonly Lazy<Llama3Tokenizer> FromRanks = new(() => Llama3Tokenizer.FromRankFile(TokenizerCases.RankFile, TokenizerCases.Special));

    public static TheoryData<string> Files => ["tokenizer.json", "tokenizer.model"];

    static Llama3Tokenizer Of(string file) => file.EndsWith("json", StringComparison.Ordinal) ? FromJson.Value : FromRanks.Value;

    static (int, int)[] Pairs(IEnumerable<TextSpan> spans) => [.. spans.Select(span => (span.Start, span.End))];

    [Theory, MemberData(nameof(Files))]
    public void Ids_spans_and_texts_are_the_recorded_ones(string file)
    {
        var tokenizer = Of(file);
        Assert.Equal(83, TokenizerCases.Texts.Count);
        foreach (var item in TokenizerCases.Texts)
        {
            string text = item.Text("text");
            var ids = item.Ids("ids");
            Assert.Equal(ids, tokenizer.Encode(text, recognizeSpecial: true));
            Assert.Equal(item.Ids("ids_with_bos"), tokenizer.Encode(text, beginOfText: true, recognizeSpecial: true));
            var spanned = tokenizer.EncodeWithSpans(text, recognizeSpecial: true);
            Assert.Equal(ids, spanned.Ids);
            Assert.Equal(item.Spans(), Pairs(spanned.Spans));
            Assert.All(spanned.TypeIds, type => Assert.Equal(0, type));
            Assert.Equal(item.GetProperty("tokens").EnumerateArray().Select(token => token.GetString()), ids.Select(tokenizer.Spelling));
            Assert.Equal(item.Text("decoded"), tokenizer.Decode(ids));
            Assert.Equal(item.Text("decoded_without_special"), tokenizer.Decode(ids, skipSpecialTokens: true));
        }
    }

    [Theory, MemberData(nameof(Files))]
    public void Pairs_have_the_recorded_types_and_spans(string file)
    {
        Assert.NotEmpty(TokenizerCases.Pairs);
        foreach (var item in TokenizerCases.Pairs)
        {
            var pair = Of(file).EncodePair(item.Text("first"), item.Text("second"), beginOfText: true, recognizeSpecial: true);
            Assert.Equal(item.Ids("ids"), pair.Ids);
            Assert.Equal(item.Ids("type_ids"), pair.TypeIds);
            Assert.Equal(item.Spans(), Pairs(pair.Spans));
        }
    }

    [Theory, MemberData(nameof(Files))]
    public void Ids_that_stop_inside_a_character_decode_as_recorded_and_streaming_holds_the_part_back(string file)
    {
        Assert.Equal(45, TokenizerCases.PartialDecodes.Count);
        foreach (var item in TokenizerCases.PartialDecodes)
        {
            var ids = item.Ids("ids");
            string expected = item.Text("decoded");
            Assert.Equal(expected, Of(file).Decode(ids));
            var decoder = Of(file).CreateDecoder();
            string streamed = string.Concat(ids.Select(decoder.Add));
            Assert.Equal(expected[..^1], streamed);
            Assert.Equal("\uFFFD", decoder.Flush());
        }
    }

    [Fact]
    public void Invalid_bytes_become_the_recorded_replacements()
    {
        var raw = TokenizerCases.Texts.Where(item => item.TryGetProperty("raw_utf8_hex", out _)).ToArray();
        Assert.NotEmpty(raw);
        foreach (var item in raw)
        {
            var bytes = Convert.FromHexString(item.Text("raw_utf8_hex"));
            var ids = bytes.Select(value => FromJson.Value.Encode(Encoding.Latin1.GetString([value]))).ToArray();
            var byValue = Enumerable.Range(0, 960).Where(id => FromJson.Value.Bytes(id).Length == 1).ToDictionary(id => FromJson.Value.Bytes(id)[0]);
            var decoder = FromJson.Value.CreateDecoder();
            string streamed = string.Concat(bytes.Select(value => decoder.Add(byValue[value]))) + decoder.Flush();
            Assert.Equal(item.Text("text"), streamed);
            Assert.Equal(item.Text("text"), FromJson.Value.Decode(bytes.Select(value => byValue[value])));
        }
    }

    [Fact]
    public void Special_tokens_stay_text_unless_requested()
    {
        var tokenizer = FromJson.Value;
        var plain = tokenizer.Encode("<|eot_id|>");
        Assert.DoesNotContain(plain, tokenizer.IsSpecial);
        Assert.Equal("<|eot_id|>", tokenizer.Decode(plain, skipSpecialTokens: true));
        Assert.Equal([962], tokenizer.Encode("<|eot_id|>", recognizeSpecial: true));
    }

    [Fact]
    public void Letters_and_digits_beyond_the_first_plane_are_split_as_letters_and_digits()
    {
        // mathematical A, a Han character, four mathematical digits; the signs are of the same length in UTF-16
        var pattern = new SplitPattern(SplitPattern.Llama3);
        string[] Split(string text) => [.. pattern.PreTokenize(text).Select(piece => text.Substring(piece.Offset, piece.Length))];
        Assert.Equal([" \U0001D49Cb\U00020000", "!"], Split(" \U0001D49Cb\U00020000!"));
        Assert.Equal(["\U0001D7D8\U0001D7D91", "\U0001D7DA"], Split("\U0001D7D8\U0001D7D91\U0001D7DA"));
        Assert.Equal([" \U0001F600\U0001F601", "a"], Split(" \U0001F600\U0001F601a"));
        Assert.Equal(["it", "'\u017F", " IT", "'S"], Split("it'\u017F IT'S"));
    }

    [Theory]
    [InlineData(@"\w+")]
    [InlineData(@"\p{Han}")]
    [InlineData(@"^a")]
    [InlineData(@"(a")]
    [InlineData(@"(?ix:a)")]
    public void Patterns_that_could_be_read_otherwise_are_refused(string pattern) => Assert.Throws<FormatException>(() => new SplitPattern(pattern));

    [Fact]
    public void Random_texts_round_trip_and_their_spans_cover_them()
    {
        var random = new Random(7);
        string[] alphabet = ["a", "in", " ", "\n", "\u00E9", "\u4F60", "\U0001F600", "\U0001D49C", "'s", "12", "\u0301", "<|eot_id|>", "!", "\r\n",
            "\u0000"];
        for (int round = 0; round < 300; round++)
        {
            string text = string.Concat(Enumerable.Range(0, random.Next(40)).Select(_ => alphabet[random.Next(alphabet.Length)]));
            var spanned = FromJson.Value.EncodeWithSpans(text, recognizeSpecial: true);
            Assert.Equal(text, FromJson.Value.Decode(spanned.Ids));
            Assert.Equal(spanned.Ids, FromRanks.Value.Encode(text, recognizeSpecial: true));
            int characters = text.EnumerateRunes().Count(), reached = 0;
            foreach (var span in spanned.Spans)
            {
                Assert.InRange(span.Start, Math.Max(0, reached - 1), reached);
                Assert.True(span.End > span.Start);
                reached = Math.Max(reached, span.End);
            }
            Assert.Equal(characters, reached);
        }
    }

    [Fact]
    public void Very_long_words_are_merged_as_short_ones_are()
    {
        var encoder = new LongPieceEncoder([.. Enumerable.Range(0, 960).Select(id => FromJson.Value.Bytes(id).ToArray())]);
        var random = new Random(9);
        string[] alphabet = ["a", "in", "g", "er", "t", "r", "h", "o", "l", "\u00E9", "\u4F60", "s", "u", "m", "i", "n"];
        for (int round = 0; round < 300; round++)
        {
            // with a space in front so that no word is by chance a token, which would be taken whole
            string word = " qq" + string.Concat(Enumerable.Range(0, random.Next(60)).Select(_ => alphabet[random.Next(alphabet.Length)]));
            var ids = new List<int>();
            encoder.Encode(word, ids);
            Assert.Equal(FromJson.Value.Encode(word), ids);
        }
    }

    [Fact]
    public void A_word_of_a_million_letters_takes_no_squared_time()
    {
        var random = new Random(9);
        string word = string.Concat(Enumerable.Range(0, 1_000_000).Select(_ => "aeinrst"[random.Next(7)]));
        string text = $"hello {word} world";
        var ids = FromJson.Value.Encode(text);
        Assert.Equal(text, FromJson.Value.Decode(ids));
        Assert.Equal([516], ids.Take(1));
        Assert.Equal(FromJson.Value.Encode(" world"), ids.TakeLast(1));
        Assert.True(ids.Length < word.Length);
    }

    [Fact]
    public void A_lone_surrogate_counts_as_the_replacement_character()
    {
        var spanned = FromJson.Value.EncodeWithSpans("a\uD800b");
        Assert.Equal(FromJson.Value.Encode("a\uFFFDb"), spanned.Ids);
        Assert.Equal(new TextSpan(2, 3), spanned.Spans[^1]);
    }

    [Fact]
    public void The_special_tokens_of_Llama_3_2_have_their_published_ids()
    {
        // the published vocabulary has 128000 ranks, so its ids are these plus 128000
        var tokenizer = Llama3Tokenizer.FromRankFile(TokenizerCases.RankFile);
        int first = 960;
        Assert.Equal(first + 256, tokenizer.VocabularySize);
        var published = new Dictionary<string, int>
        {
            ["<|begin_of_text|>"] = 0, ["<|end_of_text|>"] = 1, ["<|reserved_special_token_0|>"] = 2, ["<|finetune_right_pad_id|>"] = 4,
            ["<|reserved_special_token_2|>"] = 5, ["<|start_header_id|>"] = 6, ["<|end_header_id|>"] = 7, ["<|eom_id|>"] = 8, ["<|eot_id|>"] = 9,
            ["<|python_tag|>"] = 10, ["<|reserved_special_token_3|>"] = 11, ["<|reserved_special_token_247|>"] = 255,
        };
        foreach (var (text, offset) in published) Assert.Equal(first + offset, tokenizer.SpecialTokens[text]);
        Assert.Equal((first, first + 1, first + 9, first + 4), (tokenizer.BeginOfText, tokenizer.EndOfText, tokenizer.EndOfTurn, tokenizer.Padding));
        Assert.Equal([first + 1, first + 9, first + 8], tokenizer.StopTokens);
    }

    [Fact]
    public void A_folder_gives_its_tokenizer() =>
        Assert.Equal(FromJson.Value.SpecialTokens, Llama3Tokenizer.Load(TokenizerCases.Folder).SpecialTokens);

    [Fact]
    public void An_id_without_a_token_is_refused_by_number()
    {
        Assert.Contains("965", Assert.Throws<ArgumentOutOfRangeException>(() => FromJson.Value.Decode([5, 965])).Message);
        Assert.Contains("-1", Assert.Throws<ArgumentOutOfRangeException>(() => FromJson.Value.Decode([-1])).Message);
    }
}
