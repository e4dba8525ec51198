using System.Text.Json;
using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Design;

public class DesignJsonTests
{
    static string Json { get; } = Designs.Everything.ToJson();

    [Fact]
    public void A_design_with_every_property_round_trips()
    {
        var again = HybridDesign.FromJson(Json);
        Assert.Equal(Designs.Everything, again);
        Assert.Equal(Designs.Everything.GetHashCode(), again.GetHashCode());
        Assert.Equal(Json, again.ToJson());
    }

    /// <summary>The JSON is written by a type that repeats the properties of a design. One that it lacks would be lost.</summary>
    [Fact]
    public void Every_changed_property_is_kept()
    {
        int changed = 0;
        foreach (var property in typeof(HybridDesign).GetProperties().Where(property => property.CanWrite))
        {
            object? other = property.GetValue(Designs.Everything) switch
            {
                bool value => !value,
                double value => value + 0.5,
                NormKind value => value == NormKind.LayerNorm ? NormKind.RootMeanSquare : NormKind.LayerNorm,
                int value when property.Name != nameof(HybridDesign.Width) => value + 1,
                string value => value + "2",
                InitialisationSpec value => value with { StandardDeviation = 0.5 },
                null when property.PropertyType == typeof(double?) => 2.5,
                null when property.PropertyType == typeof(int?) => 3,
                _ => null,
            };
            if (other is null) continue;
            var design = Designs.Everything with { };
            property.SetValue(design, other);
            Assert.Equal(other, property.GetValue(HybridDesign.FromJson(design.ToJson())));
            changed++;
        }
        // the others are width, blocks and shared transformers
        Assert.Equal(typeof(HybridDesign).GetProperties().Count(property => property.CanWrite) - 3, changed);
    }

    [Theory]
    [InlineData("quotes \" and \\ and\nlines")]
    [InlineData("größer 混合 \ud83d\ude00")]
    [InlineData("")]
    [InlineData(null)]
    public void Any_name_round_trips(string? name)
    {
        var design = Designs.Everything with { Name = name };
        Assert.Equal(design, HybridDesign.FromJson(design.ToJson()));
    }

    [Fact]
    public void A_name_that_is_no_text_is_refused()
    {
        Assert.Contains("name", Assert.Throws<ArgumentException>(() => (Designs.Everything with { Name = "half \ud83d" }).Resolve()).Message);
    }

    [Fact]
    public void A_design_can_be_part_of_a_users_document()
    {
        var holder = new Dictionary<string, HybridDesign> { ["mine"] = Designs.Everything };
        Assert.Equal(Designs.Everything, JsonSerializer.Deserialize<Dictionary<string, HybridDesign>>(JsonSerializer.Serialize(holder))!["mine"]);
    }

    [Theory]
    [InlineData("\"headSize\": 8", "\"headsize\": 8", "design.blocks[0].mixer.headsize is 8; expected only the keys")]
    [InlineData("\"heads\": 8", "\"heads\": \"8\"", "design.blocks[0].mixer.heads is \"8\"; expected an integer")]
    [InlineData("\"heads\": 8", "\"heads\": 8.5", "design.blocks[0].mixer.heads is 8.5; expected an integer")]
    [InlineData("\"heads\": 8", "\"heads\": 99999999999", "design.blocks[0].mixer.heads is 99999999999; expected an integer")]
    [InlineData("\"heads\": 8", "\"heads\": null", "design.blocks[0].mixer.heads is null; expected an integer")]
    [InlineData("\"heads\": 8", "\"heads\": 0", "block 1: mixer T: heads is 0; expected at least 1")]
    [InlineData("\"heads\": 8", "\"heads\": 8, \"heads\": 8", "design.blocks[0].mixer.heads is 8 a second time; expected each key once")]
    [InlineData("\"heads\": 8,", "", "design.blocks[0].mixer.heads is missing; expected an integer")]
    [InlineData("\"theta\": 500000", "\"theta\": 1e999", "design.blocks[0].mixer.rotary.theta is 1e999; expected a finite number")]
    [InlineData("\"kind\": \"attention\"", "\"kind\": \"atention\"",
        "design.blocks[0].mixer.kind is \"atention\"; expected one of \"attention\", \"mamba1\"")]
    [InlineData("\"kind\": \"attention\",", "", "expected a key \"kind\" that is one of")]
    [InlineData("\"qkNorm\": false", "\"qkNorm\": 0", "design.blocks[0].mixer.qkNorm is 0; expected true or false")]
    [InlineData("\"fusion\": \"difference\"", "\"fusion\": \"product\"",
        "design.blocks[4].mixer.fusion is \"product\"; expected one of \"add\", \"difference\", \"gate\", \"concat\"")]
    [InlineData("\"fusion\": \"difference\"", "\"fusion\": 1", "design.blocks[4].mixer.fusion is 1; expected one of")]
    [InlineData("\"width\": 128", "\"width\": -128", "block 1: feed-forward: width is -128; expected at least 1")]
    [InlineData("\"blocks\": [", "\"blocks\": [ 7,", "design.blocks[0] is 7; expected an object")]
    [InlineData("\"blocks\": [", "\"blocks\": [ null,", "design.blocks[0] is null; expected an object")]
    [InlineData("\"name\": \"everything\"", "\"name\": 3", "design.name is 3; expected a text")]
    [InlineData("\"initialisation\": {", "\"initialisation\": null, \"other\": {", "design.initialisation is null; expected an object")]
    [InlineData("\"timeStepRange\": {", "\"timeStepRange\": {\"middle\": 1,",
        "design.blocks[2].mixer.timeStepRange.middle is 1; expected only the keys maximum, minimum")]
    public void A_bad_document_is_refused_with_position_value_and_expectation(string good, string bad, string message)
    {
        int at = Json.IndexOf(good, StringComparison.Ordinal);
        Assert.True(at >= 0, $"the test's own text \"{good}\" is not in the document");
        var refusal = Assert.Throws<ArgumentException>(() => HybridDesign.FromJson(Json[..at] + bad + Json[(at + good.Length)..]));
        Assert.Contains(message, refusal.Message);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{\"vocabularySize\": 3}")]
    [InlineData("{\"vocabularySize\": 3, \"\\ud83d\": 4}")]
    [InlineData("{\"vocabularySize\": 3, \"width\": 4, \"name\": \"\\ud83d\", \"blocks\": [{\"mixer\": {\"kind\": \"mamba1\"}}]}")]
    [InlineData("{\"vocabularySize\": 3, \"width\": 4, \"blocks\": [{\"mixer\": {\"kind\": \"\\ud83d\"}}]}")]
    [InlineData("{\"vocabularySize\": 3, \"width\": 4, \"initialisation\": {\"residual\": \"\\ud83d\"}, \"blocks\": []}")]
    public void Anything_but_a_design_is_refused(string json) => Assert.Throws<ArgumentException>(() => HybridDesign.FromJson(json));

    [Fact]
    public void Every_cut_of_a_document_is_refused()
    {
        for (int length = 0; length < Json.TrimEnd().Length; length += 7)
            Assert.Throws<ArgumentException>(() => HybridDesign.FromJson(Json[..length]));
    }

    [Fact]
    public void A_registered_custom_mixer_round_trips()
    {
        var design = new HybridDesign { VocabularySize = 16, Width = 8, Blocks = [new() { Mixer = new ShiftSpec(3) { Scales = [0.5, 2] } }] };
        MixerSpec.Register<ShiftSpec>("shift");
        MixerSpec.Register<ShiftSpec>("shift");
        Assert.Equal("X~", design.Pattern);
        Assert.Equal(design, HybridDesign.FromJson(design.ToJson()));
        Assert.Contains("\"kind\": \"shift\"", design.ToJson());
        Assert.Contains("\"shift\"", Assert.Throws<ArgumentException>(() => MixerSpec.Register<ShiftSpec>("other")).Message);
        Assert.Contains("AttentionSpec", Assert.Throws<ArgumentException>(() => MixerSpec.Register<UnknownSpec>("attention")).Message);
        var refusal = Assert.Throws<ArgumentException>(
            () => HybridDesign.FromJson(design.ToJson().Replace("\"by\": 3", "\"by\": -3", StringComparison.Ordinal)));
        Assert.Contains("block 1: mixer X: by is -3", refusal.Message);
    }

    [Fact]
    public void An_unregistered_mixer_is_refused_at_writing()
    {
        var design = new HybridDesign { VocabularySize = 16, Width = 8, Blocks = [new() { Mixer = new UnknownSpec() }] };
        Assert.Contains("MixerSpec.Register<UnknownSpec>", Assert.Throws<ArgumentException>(design.ToJson).Message);
    }
}
