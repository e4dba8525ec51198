using HybridArchitectures.Generation;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Tests.Generation;

public class GenerationInputTests
{
    static readonly ByteTokenizer Bytes = new();

    [Fact]
    public void Options_outside_their_range_are_refused_by_name()
    {
        void Refused(string name, Func<GenerationOptions> make)
        {
            var error = Assert.ThrowsAny<ArgumentException>(make);
            Assert.Equal(name, error.ParamName);
            Assert.Contains(name, error.Message);
        }
        Refused("Temperature", () => new() { Temperature = -0.1 });
        Refused("Temperature", () => new() { Temperature = double.NaN });
        Refused("Temperature", () => new() { Temperature = double.PositiveInfinity });
        Refused("TopP", () => new() { TopP = 0 });
        Refused("TopP", () => new() { TopP = 1.0001 });
        Refused("TopP", () => new() { TopP = double.NaN });
        Refused("MinP", () => new() { MinP = -0.1 });
        Refused("TypicalP", () => new() { TypicalP = 0 });
        Refused("EpsilonCutoff", () => new() { EpsilonCutoff = 2 });
        Refused("TopK", () => new() { TopK = 0 });
        Refused("NoRepeatNgrams", () => new() { NoRepeatNgrams = 0 });
        Refused("RepetitionPenalty", () => new() { RepetitionPenalty = 0 });
        Refused("MaxNewTokens", () => new() { MaxNewTokens = 0 });
        Refused("PrefillChunk", () => new() { PrefillChunk = 0 });
        Refused("Stop", () => new() { Stop = ["a", ""] });
        Refused("Stop", () => new() { Stop = [null!] });
        Refused("Stop", () => new() { Stop = ["a\uD800"] });
        Refused("Stop", () => new() { Stop = null! });
        Refused("Processors", () => new() { Processors = [null!] });
    }

    [Fact]
    public void Prompts_a_model_cannot_begin_with_are_refused_at_the_call()
    {
        using var model = new TableModel(256);
        var generator = new TextGenerator(model, Bytes);
        Assert.Contains("prompt 1 is empty", Assert.Throws<ArgumentException>(() => generator.Generate(["a", ""])).Message);
        Assert.Contains("prompt 0 is empty", Assert.Throws<ArgumentException>(() => generator.StreamAsync("")).Message);
        Assert.Contains("prompt 0 is empty", Assert.Throws<ArgumentException>(() => generator.Generate(Array.Empty<int>())).Message);
        Assert.Contains("256", Assert.Throws<ArgumentOutOfRangeException>(() => generator.Generate([1, 256])).Message);
        Assert.Contains("-1", Assert.Throws<ArgumentOutOfRangeException>(() => generator.StreamAsync([-1])).Message);
        Assert.Throws<ArgumentNullException>(() => generator.Generate(default(string)!));
        Assert.Throws<ArgumentNullException>(() => generator.Generate(default(IReadOnlyList<string>)!));
        Assert.Empty(generator.Generate(Array.Empty<string>()));
    }

    [Fact]
    public void Options_that_do_not_fit_the_prompts_or_the_tokenizer_are_refused()
    {
        using var model = new TableModel(256);
        var generator = new TextGenerator(model, Bytes);
        Assert.Contains("BeginOfText", Assert.Throws<ArgumentException>(() => generator.Generate("a", new() { BeginOfText = true })).Message);
        Assert.Contains("Seeds has 2 entries; expected 1, one for each prompt.",
            Assert.Throws<ArgumentException>(() => generator.Generate("a", new() { Seeds = [1, 2] })).Message);
        Assert.Contains("300", Assert.Throws<ArgumentException>(() => generator.Generate("a", new() { StopTokens = [300] })).Message);
        Assert.Contains("257", Assert.Throws<ArgumentException>(() => new TextGenerator(model, new ByteTokenizer(endOfText: true))).Message);
    }

    [Fact]
    public async Task A_generator_of_token_ids_needs_no_tokenizer()
    {
        using var model = new TableModel(300);
        var options = new GenerationOptions { MaxNewTokens = 20, Temperature = 0 };
        var generator = new TextGenerator(model);
        var free = generator.Generate([5, 7], options);
        Assert.Equal((20, "", FinishReason.MaxNewTokens), (free.Ids.Count, free.Text, free.FinishReason));
        int stop = free.Ids[4];
        var ended = generator.Generate([5, 7], options with { StopTokens = [stop] });
        Assert.Equal(FinishReason.StopToken, ended.FinishReason);
        Assert.Equal(free.Ids.Take(free.Ids.ToList().IndexOf(stop) + 1), ended.Ids);
        var streamed = new List<int>();
        await foreach (var piece in generator.StreamAsync([5, 7], options)) streamed.Add(piece.Id);
        Assert.Equal(free.Ids, streamed);
        Assert.Contains("no tokenizer", Assert.Throws<InvalidOperationException>(() => generator.Generate("text", options)).Message);
        Assert.Contains("Stop holds 1", Assert.Throws<ArgumentException>(() => generator.Generate([5], options with { Stop = ["x"] })).Message);
        Assert.Contains("300", Assert.Throws<ArgumentException>(() => generator.Generate([5], options with { StopTokens = [300] })).Message);
    }
}
