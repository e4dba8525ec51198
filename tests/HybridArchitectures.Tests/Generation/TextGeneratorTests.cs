using System.Text;
using HybridArchitectures.Generation;
using HybridArchitectures.Tokenization;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Generation;

public class TextGeneratorTests
{
    static readonly ByteTokenizer Bytes = new();
    static readonly ByteTokenizer WithEnd = new(beginOfText: true, endOfText: true);

    static readonly GenerationOptions Greedy = new() { Temperature = 0, MaxNewTokens = 100 };

    // rows are told by their first byte
    static ScriptedModel Script(params string[] rows) =>
        new(258, rows.Select(row => WithEnd.Encode(row, recognizeSpecial: true)).ToDictionary(ids => ids[0]));

    static async Task<List<GeneratedPiece>> Collect(IAsyncEnumerable<GeneratedPiece> stream)
    {
        var pieces = new List<GeneratedPiece>();
        await foreach (var piece in stream) pieces.Add(piece);
        return pieces;
    }

    static string TextOf(IEnumerable<GeneratedPiece> pieces, int row = 0) =>
        string.Concat(pieces.Where(piece => piece.Row == row).Select(piece => piece.Text));

    [Fact]
    public void Greedy_text_continues_to_the_stop_token()
    {
        using var model = Script("Q: two and two? four<|end_of_text|>and more");
        var result = new TextGenerator(model, WithEnd).Generate("Q: two and two?", Greedy with { BeginOfText = false });
        Assert.Equal(" four", result.Text);
        Assert.Equal(FinishReason.StopToken, result.FinishReason);
        Assert.Equal(WithEnd.EndOfText, result.Ids[^1]);
        Assert.Equal(6, result.Ids.Count);
        Assert.Equal(WithEnd.Encode("Q: two and two?"), result.PromptIds);
    }

    [Fact]
    public void A_text_prompt_begins_with_the_begin_token_where_there_is_one()
    {
        using var model = Script("<|begin_of_text|>ab<|end_of_text|>");
        var generator = new TextGenerator(model, WithEnd);
        Assert.Equal("b", generator.Generate("a", Greedy).Text);
        Assert.Equal("ab", generator.Generate("", Greedy).Text);
        Assert.Equal("ab", generator.Generate("<|begin_of_text|>", Greedy with { BeginOfText = false, RecognizeSpecialTokens = true }).Text);
    }

    [Fact]
    public void The_most_tokens_are_never_exceeded()
    {
        using var model = Script("abcdefgh");
        var result = new TextGenerator(model, Bytes).Generate("ab", Greedy with { MaxNewTokens = 3 });
        Assert.Equal(("cde", FinishReason.MaxNewTokens, 3), (result.Text, result.FinishReason, result.Ids.Count));
        Assert.Equal(3, model.Passes.Count);
    }

    [Fact]
    public void A_printed_result_is_its_text_or_without_a_tokenizer_its_tokens()
    {
        using var model = Script("abcdefgh");
        var options = Greedy with { MaxNewTokens = 3, Seed = 5 };
        Assert.Equal("cde (3 tokens, MaxNewTokens, seed 5)", $"{new TextGenerator(model, Bytes).Generate("ab", options)}");
        Assert.Equal("[99, 100, 101] (3 tokens, MaxNewTokens, seed 5)", $"{new TextGenerator(model).Generate([97, 98], options)}");
    }

    [Fact]
    public async Task A_stop_string_over_several_tokens_ends_the_text_and_is_never_partly_shown()
    {
        using var model = Script("aSTOx STOP more");
        var generator = new TextGenerator(model, Bytes);
        var options = Greedy with { Stop = ["STOP", "zzz"] };
        Assert.Equal("STOx ", generator.Generate("a", options).Text);
        var pieces = await Collect(generator.StreamAsync("a", options));
        Assert.Equal(["", "", "", "STOx", " ", "", "", "", ""], pieces.Select(piece => piece.Text));
        Assert.Equal(FinishReason.StopString, pieces[^1].FinishReason);
        Assert.All(pieces[..^1], piece => Assert.Null(piece.FinishReason));
    }

    [Fact]
    public async Task Text_held_back_for_a_stop_string_comes_out_when_the_text_ends_otherwise()
    {
        using var model = Script("axST<|end_of_text|>", "bxSTyy");
        var generator = new TextGenerator(model, WithEnd);
        var options = Greedy with { Stop = ["STOP"], BeginOfText = false };
        Assert.Equal("xST", generator.Generate("a", options).Text);
        var cut = await Collect(generator.StreamAsync("b", options with { MaxNewTokens = 3 }));
        Assert.Equal(["x", "", "ST"], cut.Select(piece => piece.Text));
    }

    [Fact]
    public async Task A_character_over_several_tokens_comes_out_whole()
    {
        using var model = Script("a\u00E9\u4F60\U0001F600!");
        var pieces = await Collect(new TextGenerator(model, Bytes).StreamAsync("a", Greedy with { MaxNewTokens = 10 }));
        Assert.Equal(["", "\u00E9", "", "", "\u4F60", "", "", "", "\U0001F600", "!"], pieces.Select(piece => piece.Text));
    }

    [Fact]
    public async Task A_character_that_the_end_leaves_unfinished_becomes_a_replacement_as_in_decoding()
    {
        using var model = Script("a\u4F60\u4F60");
        var generator = new TextGenerator(model, Bytes);
        var result = generator.Generate("a", Greedy with { MaxNewTokens = 5 });
        Assert.Equal("\u4F60\uFFFD", result.Text);
        Assert.Equal(Bytes.Decode(result.Ids), result.Text);
        Assert.Equal(result.Text, TextOf(await Collect(generator.StreamAsync("a", Greedy with { MaxNewTokens = 5 }))));
        Assert.Equal(FinishReason.StopString, generator.Generate("a", Greedy with { MaxNewTokens = 5, Stop = ["\uFFFD"] }).FinishReason);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(512)]
    public async Task Prompts_of_unequal_length_each_continue_by_themselves(int chunk)
    {
        string[] rows = ["a brown fox<|end_of_text|>", "by the way: a long prompt, and then a long answer too<|end_of_text|>", "c<|end_of_text|>",
            "d0123456789<|end_of_text|>"];
        string[] prompts = ["a br", "by the way: a long prompt,", "c", "d0123456"];
        string[] answers = ["own fox", " and then a long answer too", "", "789"];
        using var model = Script(rows);
        var generator = new TextGenerator(model, WithEnd);
        var options = Greedy with { PrefillChunk = chunk, BeginOfText = false };
        var results = generator.Generate(prompts, options);
        Assert.Equal(answers, results.Select(result => result.Text));
        Assert.All(results, result => Assert.Equal(FinishReason.StopToken, result.FinishReason));
        Assert.All(model.Passes, pass => Assert.True(pass.Length <= chunk));
        // rows that have ended leave the batch
        Assert.Equal(1, model.Passes[^1].Batch);
        var pieces = await Collect(generator.StreamAsync(prompts, options));
        for (int row = 0; row < rows.Length; row++)
        {
            Assert.Equal(answers[row], TextOf(pieces, row));
            Assert.Equal(results[row].Ids, pieces.Where(piece => piece.Row == row).Select(piece => piece.Id));
            Assert.Single(pieces, piece => piece.Row == row && piece.FinishReason is not null);
        }
    }

    [Fact]
    public async Task A_row_gives_the_same_alone_and_in_any_batch_for_its_seed()
    {
        using var model = new TableModel(256);
        var generator = new TextGenerator(model, Bytes);
        var options = new GenerationOptions { Seed = 11, MaxNewTokens = 40, TopP = 0.95, RepetitionPenalty = 1.1 };
        var alone = generator.Generate("hello", options);
        Assert.Equal(alone.Ids, generator.Generate("hello", options).Ids);
        Assert.Equal(11, alone.Seed);
        var together = generator.Generate(["x", "hello", "something longer"], options);
        Assert.Equal(alone.Ids, together[1].Ids);
        Assert.Equal(alone.Text, together[1].Text);
        var streamed = await Collect(generator.StreamAsync(["something longer", "hello"], options));
        Assert.Equal(alone.Ids, streamed.Where(piece => piece.Row == 1).Select(piece => piece.Id));
        Assert.Equal(alone.Text, TextOf(streamed, 1));
        Assert.NotEqual(alone.Ids, generator.Generate("hello", options with { Seed = 12 }).Ids);
    }

    [Fact]
    public void Separate_seeds_produce_several_samples_of_one_prompt()
    {
        using var model = new TableModel(256);
        var generator = new TextGenerator(model, Bytes);
        var options = new GenerationOptions { MaxNewTokens = 20, Seeds = [1, 2, 1] };
        var results = generator.Generate(["hello", "hello", "hello"], options);
        Assert.Equal(results[0].Ids, results[2].Ids);
        Assert.NotEqual(results[0].Ids, results[1].Ids);
        Assert.Equal([1, 2, 1], results.Select(result => result.Seed));
        var unseeded = generator.Generate(["hello", "hello"], new() { MaxNewTokens = 20 });
        Assert.NotEqual(unseeded[0].Ids, unseeded[1].Ids);
        Assert.Equal(unseeded[1].Ids, generator.Generate("hello", new() { MaxNewTokens = 20, Seed = unseeded[1].Seed }).Ids);
    }

    [Fact]
    public void Tokens_come_as_often_as_the_model_and_the_rules_say()
    {
        // four tokens with probabilities 0.4, 0.3, 0.2, 0.1 whatever went before; top-p 0.85 leaves 4/9, 3/9, 2/9
        using var scope = NewDisposeScope();
        using var model = new TableModel(tensor(new[] { 0.4f, 0.3f, 0.2f, 0.1f }).log().expand(4, 4).contiguous());
        var result = new TextGenerator(model, new LetterTokenizer(4))
            .Generate([0], new GenerationOptions { MaxNewTokens = 3000, TopP = 0.85, Seed = 4 });
        double[] expected = [4 / 9.0, 3 / 9.0, 2 / 9.0, 0];
        // four standard deviations of 3000 draws are at most 0.037
        for (int id = 0; id < 4; id++) Assert.InRange(result.Ids.Count(drawn => drawn == id) / 3000.0, expected[id] - 0.037, expected[id] + 0.037);
        Assert.DoesNotContain(3, result.Ids);
    }

    [Fact]
    public void A_low_temperature_comes_to_the_greedy_text()
    {
        using var model = new TableModel(256);
        var generator = new TextGenerator(model, Bytes);
        Assert.Equal(
            generator.Generate("k", new() { Temperature = 0, MaxNewTokens = 20 }).Ids,
            generator.Generate("k", new() { Temperature = 1e-4, MaxNewTokens = 20, Seed = 1 }).Ids);
    }

    [Fact]
    public void Custom_rules_come_first()
    {
        using var model = Script("abc");
        var result = new TextGenerator(model, WithEnd).Generate("a", Greedy with { BeginOfText = false, Processors = [new Only(257)] });
        Assert.Equal([257], result.Ids);
    }

    sealed class Only(int id) : LogitsProcessor
    {
        protected override Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history)
        {
            var changed = full_like(scores, float.NegativeInfinity);
            changed[.., id] = 0;
            return changed;
        }
    }

    [Fact]
    public void Tokens_the_tokenizer_lacks_are_never_given()
    {
        // the model's vocabulary is padded, and the padding has the largest logits
        using var scope = NewDisposeScope();
        var logits = zeros(300, 300);
        logits[.., 258..] = 50;
        logits[.., 257] = 10;
        using var model = new TableModel(logits);
        Assert.Equal([257], new TextGenerator(model, WithEnd).Generate("a", Greedy).Ids);
        Assert.Equal([257], new TextGenerator(model, WithEnd).Generate("a", new() { Seed = 1 }).Ids);
    }

    [Fact]
    public async Task Cancelling_ends_the_generation_between_two_tokens()
    {
        using var model = new TableModel(256);
        var generator = new TextGenerator(model, Bytes);
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();
        Assert.ThrowsAny<OperationCanceledException>(() => generator.Generate("a", Greedy, cancelled.Token));
        foreach (bool byEnumerator in new[] { false, true })
        {
            using var source = new CancellationTokenSource();
            var stream = byEnumerator ? generator.StreamAsync("a", Greedy) : generator.StreamAsync("a", Greedy, source.Token);
            int count = 0;
            await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
            {
                await foreach (var piece in stream.WithCancellation(byEnumerator ? source.Token : default))
                    if (++count == 5) await source.CancelAsync();
            });
            Assert.Equal(5, count);
        }
    }

    [Fact]
    public void Cancelling_takes_effect_between_the_chunks_of_a_prompt()
    {
        using var model = Script("abcdefghijkl");
        using var source = new CancellationTokenSource();
        model.BeforePass = () => { if (model.Passes.Count == 1) source.Cancel(); };
        Assert.ThrowsAny<OperationCanceledException>(
            () => new TextGenerator(model, Bytes).Generate("abcdefghij", Greedy with { PrefillChunk = 2 }, source.Token));
        Assert.Equal(2, model.Passes.Count);
    }

    [Fact]
    public async Task A_stream_computes_only_requested_tokens_and_can_be_left_early()
    {
        using var model = Script("abcdefghijklmnop");
        var stream = new TextGenerator(model, Bytes).StreamAsync("a", Greedy);
        Assert.Empty(model.Passes);
        int count = 0;
        await foreach (var _ in stream)
        {
            Assert.Equal(++count, model.Passes.Count);
            if (count == 3) break;
        }
        Assert.Equal(3, model.Passes.Count);
        // from the beginning again
        Assert.Equal("bcd", TextOf((await Collect(new TextGenerator(model, Bytes).StreamAsync("a", Greedy with { MaxNewTokens = 3 })))));
    }

    [Fact]
    public async Task The_model_is_in_evaluation_mode_meanwhile_and_as_before_afterwards()
    {
        using var model = Script("abc");
        var generator = new TextGenerator(model, Bytes);
        model.train();
        generator.Generate("a", Greedy with { MaxNewTokens = 2 });
        Assert.DoesNotContain(true, model.WasTraining);
        Assert.True(model.training);
        await foreach (var _ in generator.StreamAsync("a", Greedy)) break;
        Assert.True(model.training);
        model.eval();
        generator.Generate("a", Greedy with { MaxNewTokens = 2 });
        Assert.False(model.training);
    }

    [Fact]
    public async Task A_stream_that_is_left_unread_leaves_the_model_as_it_was_and_hinders_no_other()
    {
        using var model = Script("abc");
        var generator = new TextGenerator(model, Bytes);
        model.train();
        var left = generator.StreamAsync("a", Greedy).GetAsyncEnumerator(TestContext.Current.CancellationToken);
        Assert.True(await left.MoveNextAsync());
        Assert.True(model.training);
        Assert.Equal("bc", generator.Generate("a", Greedy with { MaxNewTokens = 2 }).Text);
        Assert.True(await left.MoveNextAsync());
        Assert.Equal("c", left.Current.Text);
        Assert.DoesNotContain(true, model.WasTraining);
    }

    [Fact]
    public async Task An_error_of_the_model_reaches_the_reader_of_the_stream()
    {
        using var model = Script("abc");
        model.BeforePass = () => { if (model.Passes.Count == 2) throw new FormatException("told so"); };
        Assert.Equal("told so", (await Assert.ThrowsAsync<FormatException>(
            () => Collect(new TextGenerator(model, Bytes).StreamAsync("a", Greedy)))).Message);
    }

    [Fact]
    public async Task No_tensor_is_left_behind()
    {
        using var model = new TableModel(256);
        var generator = new TextGenerator(model, Bytes);
        var options = new GenerationOptions { MaxNewTokens = 12, Seed = 1, TopK = 50, TopP = 0.9, RepetitionPenalty = 1.2, TypicalP = 0.9,
            NoRepeatNgrams = 3 };
        async Task Work()
        {
            generator.Generate(["hello", "a"], options);
            await foreach (var piece in generator.StreamAsync(["hello", "a"], options))
                if (piece.Text == "\u0001") break;
        }
        await LiveTensors.AssertNoneLeftBy(Work, repetitions: 2);
    }

    [Fact]
    public void Scores_that_are_not_finite_end_with_the_prompt_and_token()
    {
        using var scope = NewDisposeScope();
        var logits = zeros(256, 256);
        logits[98] = float.NaN;
        logits[97, 98] = 50;
        foreach (var options in new[] { Greedy, new GenerationOptions { Seed = 1 } })
        {
            using var model = new TableModel(logits.clone());
            var error = Assert.Throws<InvalidOperationException>(() => new TextGenerator(model, Bytes).Generate(["c", "a"], options));
            Assert.Contains("prompt 1 after 1 generated", error.Message);
        }
    }
}
