using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Tests.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Generation;

public class HybridGenerationTests
{
    static readonly LetterTokenizer Letters = new(37);

    static readonly string[] Prompts = ["HELLO", "THEQUICKBROWNFOXJUMPSOVERTHELAZYDOG", "A", "HYBRIDMODEL"];

    public static TheoryData<string> Designs => ["inter", "mamba1", "sliding window", "intra difference", "experts"];

    static GenerationOptions Sharp(int chunk = 512) => new() { Temperature = 0, MaxNewTokens = 12, PrefillChunk = chunk };

    [Theory, MemberData(nameof(Designs))]
    public async Task Rows_of_a_batch_equal_single_rows_in_chunks_and_streamed(string name)
    {
        using var model = TinyDesigns.Model(name);
        var generator = new TextGenerator(model, Letters);
        var alone = Prompts.Select(prompt => generator.Generate(prompt, Sharp())).ToArray();
        foreach (int chunk in new[] { 512, 1, 7 })
        {
            var together = generator.Generate(Prompts, Sharp(chunk));
            for (int row = 0; row < Prompts.Length; row++) Assert.Equal(alone[row].Text, together[row].Text);
        }
        var streamed = new string[Prompts.Length];
        await foreach (var piece in generator.StreamAsync(Prompts, Sharp(5))) streamed[piece.Row] += piece.Text;
        Assert.Equal(alone.Select(result => result.Text), streamed);
    }

    [Theory, MemberData(nameof(Designs))]
    public void Greedy_text_is_that_of_full_passes_without_a_cache(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model(name);
        model.eval();
        foreach (string prompt in Prompts)
        {
            var ids = Letters.Encode(prompt).Select(id => (long)id).ToList();
            for (int step = 0; step < 12; step++)
            {
                var (values, best) = model.Forward(tensor(ids.ToArray()).unsqueeze(0))[0, -1].topk(2);
                // nearer than this, rounding could choose the other one, and the comparison would say nothing
                Assert.True((values[0] - values[1]).item<float>() > 1e-3);
                ids.Add(best[0].item<long>());
            }
            Assert.Equal(Letters.Decode(ids.Skip(prompt.Length).Select(id => (int)id)),
                new TextGenerator(model, Letters).Generate(prompt, Sharp()).Text);
        }
    }

    [Fact]
    public void Sampled_text_does_not_depend_on_the_other_rows()
    {
        using var model = TinyDesigns.Model("inter");
        var generator = new TextGenerator(model, Letters);
        var options = new GenerationOptions { Seed = 3, MaxNewTokens = 12, TopP = 0.9 };
        var together = generator.Generate(Prompts, options);
        for (int row = 0; row < Prompts.Length; row++) Assert.Equal(generator.Generate(Prompts[row], options).Text, together[row].Text);
    }

    [Fact]
    public void A_text_that_ends_early_leaves_the_others_as_they_are()
    {
        using var model = TinyDesigns.Model("inter");
        var generator = new TextGenerator(model, Letters);
        var free = generator.Generate(Prompts, Sharp());
        // stop the first row at its third token; others may meet that token later
        var stop = Sharp() with { StopTokens = [free[0].Ids[2]] };
        var stopped = generator.Generate(Prompts, stop);
        Assert.True(stopped[0].Ids.Count <= 3);
        for (int row = 0; row < Prompts.Length; row++) Assert.Equal(free[row].Ids.Take(stopped[row].Ids.Count), stopped[row].Ids);
        Assert.Contains(stopped, result => result.FinishReason == FinishReason.MaxNewTokens || result.Ids.Count > stopped[0].Ids.Count);
    }

    [Fact]
    public void The_logits_after_the_last_token_are_those_of_the_full_pass_for_any_padding()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model("inter");
        manual_seed(1);
        var ids = randint(37, [4, 6], ScalarType.Int64);
        var mask = tensor(new long[,] { { 0, 0, 1, 1, 1, 1 }, { 1, 1, 1, 0, 0, 0 }, { 0, 0, 0, 0, 0, 0 }, { 1, 1, 1, 1, 1, 1 } });
        using var context = SequenceContext.FromMask(mask);
        var full = model.Forward(ids, context);
        var next = model.NextLogits(ids, context);
        var expected = stack([full[0, 5], full[1, 2], zeros(37), full[3, 5]]);
        // the same sums, over other shapes; a row without tokens has the result 0
        Assert.True((next - expected).abs().max().item<float>() < 1e-5);
        Assert.True((model.NextLogits(ids) - model.Forward(ids)[.., -1]).abs().max().item<float>() < 1e-5);
    }

    [Fact]
    public async Task No_tensor_of_the_cache_is_left_behind()
    {
        using var model = TinyDesigns.Model("inter");
        var generator = new TextGenerator(model, Letters);
        async Task Work()
        {
            generator.Generate(Prompts, Sharp(4) with { StopTokens = [1, 2, 3, 4, 5] });
            await foreach (var piece in generator.StreamAsync(Prompts, Sharp(4)))
                if (piece.Row == 3) break;
        }
        await LiveTensors.AssertNoneLeftBy(Work, repetitions: 2);
    }

    public static TheoryData<string> AllDesigns => TinyDesigns.Names;

    [Theory, MemberData(nameof(AllDesigns))]
    public void Drafts_change_the_passes_and_not_the_tokens(string name)
    {
        using var model = TinyDesigns.Model(name);
        using var generator = new TextGenerator(model, Letters);
        string[] prompts = ["ABCABCABCAB", "THECATTHECATTHE", "XY"];
        var options = Sharp() with { MaxNewTokens = 40 };
        var expected = generator.Generate(prompts, options);
        foreach (int drafts in new[] { 1, 3, 7 })
        {
            var actual = generator.Generate(prompts, options with { DraftTokens = drafts });
            for (int row = 0; row < prompts.Length; row++)
                Assert.Equal((expected[row].Text, expected[row].FinishReason), (actual[row].Text, actual[row].FinishReason));
        }
    }

    [Fact]
    public void Guesses_follow_the_longest_match()
    {
        Assert.Equal([5, 6, 7], PromptLookup.Guess([4, 5, 6, 7, 4], 3));
        Assert.Equal([9, 1], PromptLookup.Guess([1, 2, 9, 1, 5, 2, 8, 1, 2], 2));
        // a text that repeats itself is continued beyond its end
        Assert.Equal([3, 3], PromptLookup.Guess([3, 3, 3], 2));
        Assert.Equal([5, 4, 5, 4, 5], PromptLookup.Guess([5, 4, 5, 4], 5));
        Assert.Empty(PromptLookup.Guess([1, 2, 3], 4));
        // a minimum length of the match
        Assert.Equal([9, 1], PromptLookup.Guess([1, 2, 9, 1, 5, 2, 8, 1, 2], 2, minMatch: 2));
        Assert.Empty(PromptLookup.Guess([1, 2, 9, 1, 5, 2, 8, 1, 2], 2, minMatch: 3));
        Assert.Empty(PromptLookup.Guess([1], 4));
        Assert.Throws<ArgumentOutOfRangeException>(() => new GenerationOptions { DraftTokens = 8 });
    }

    [Fact]
    public void Wrong_guesses_require_longer_matches_until_one_is_right()
    {
        var row = new GenerationRow(0, [1, 2, 9, 1, 5, 2, 8, 1, 2], null, new(), 0);
        Assert.Equal([9, 1], row.Guess(2));
        row.NoteGuesses(right: 0);
        Assert.Equal([9, 1], row.Guess(2));
        row.NoteGuesses(right: 0);
        Assert.Empty(row.Guess(2));
        row.NoteGuesses(right: 1);
        Assert.Equal([9, 1], row.Guess(2));
    }
}
