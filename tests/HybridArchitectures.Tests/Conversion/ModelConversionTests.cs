using HybridArchitectures.Adapters;
using HybridArchitectures.Conversion;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Conversion;

public class ModelConversionTests
{
    const int Width = 24, VocabularySize = 19;

    static readonly AttentionSpec Plain = new() { Heads = 4, HeadSize = 6 }, Grouped = Plain with { KeyValueHeads = 2, Rotary = new() };

    static readonly Dictionary<string, Func<AttentionSpec, MixerSpec>> Targets = new()
    {
        ["Mamba-2"] = ConvertedMixers.Mamba2, ["gated delta"] = ConvertedMixers.GatedDelta, ["Kimi delta"] = ConvertedMixers.KimiDelta,
        ["RWKV-7"] = ConvertedMixers.Rwkv7, ["lightning"] = ConvertedMixers.LightningAttention,
    };

    static readonly Dictionary<string, MixerSpec> Mixers = new()
    {
        ["attention"] = Grouped, ["gated attention"] = Plain with { OutputGate = true, QkNorm = true, InputBias = true },
        ["Mamba-1"] = new Mamba1Spec(),
        ["Mamba-2"] = new Mamba2Spec { HeadSize = 8, StateSize = 5, Groups = 2 }, ["short convolution"] = new ShortConvolutionSpec { Bias = true },
        ["gated delta"] = new GatedDeltaSpec { KeyHeads = 2, ValueHeads = 4, KeyHeadSize = 6, ValueHeadSize = 5 },
        ["RWKV-7"] = new Rwkv7Spec { Heads = 3 },
        ["Kimi delta"] = new KimiDeltaSpec { Heads = 3 }, ["lightning"] = new LightningAttentionSpec { Heads = 2 },
        ["latent"] = new LatentAttentionSpec { Heads = 4, KeyValueRank = 7, SharedKeySize = 2 },
        ["RG-LRU"] = new RgLruSpec { Heads = 4 },
        ["intra"] = new IntraHybridSpec { Attention = Plain, StateSpace = new Mamba2Spec { HeadSize = 8, StateSize = 4 } },
    };

    public static TheoryData<string> TargetNames => [.. Targets.Keys];

    public static TheoryData<string> MixerNames => [.. Mixers.Keys];

    static HybridDesign Design(params MixerSpec[] mixers) => new HybridDesign
    {
        Width = Width, VocabularySize = VocabularySize,
        Blocks = [.. mixers.Select(mixer => new BlockSpec { Mixer = mixer, FeedForward = FeedForwardSpec.SwiGlu(16) })],
    }.Resolve();

    static Tensor Ids(int length = 12) => arange(0, 2 * length, ScalarType.Int64).mul_(7).remainder_(VocabularySize).view(2, length);

    static float[] Logits(HybridLanguageModel model)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        return TensorMemory.ToArray<float>(model.Forward(Ids()));
    }

    static void SameTensors(HybridLanguageModel expected, HybridLanguageModel actual)
    {
        foreach (var (name, value) in expected.State)
            Assert.True(TensorMemory.ToArray<float>(value).AsSpan().SequenceEqual(TensorMemory.ToArray<float>(actual.State[name])), name);
    }

    [Fact]
    public void A_model_that_is_converted_to_its_design_keeps_everything()
    {
        using var model = Design([.. Mixers.Values]).CreateModel(seed: 1);
        using var converted = model.Convert(model.Design, new() { Seed = 2 });
        SameTensors(model, converted.Model);
        Assert.Equal(converted.Report.Total, converted.Report.Count(WeightOrigin.Kept));
        Assert.Empty(converted.Report.Unused);
    }

    [Fact]
    public void Attention_with_a_window_as_long_as_the_text_computes_the_same_logits()
    {
        using var model = Design(Grouped, Grouped).CreateModel(seed: 1);
        using var converted = model.Convert(model.Design.Convert([2], (Grouped with { Window = 12 }).Resolve(Width)));
        Assert.Equal("TS", converted.Model.Design.Pattern);
        Assert.Equal(Logits(model), Logits(converted.Model));
    }

    [Theory, MemberData(nameof(TargetNames))]
    public void A_round_trip_returns_every_weight_of_attention(string target)
    {
        using var scope = NewDisposeScope();
        foreach (var attention in new[] { Plain, Grouped })
        {
            using var model = Design(attention, attention).CreateModel(seed: 1);
            using var there = model.Convert(model.Design.Convert([1, 2], Targets[target]), new() { Seed = 2 });
            using var back = there.Model.Convert(model.Design, new() { Seed = 3 });
            SameTensors(model, back.Model);
            Assert.Equal(0, back.Report.Count(WeightOrigin.Fresh));
        }
    }

    [Fact]
    public void Queries_keys_values_and_outputs_become_C_B_x_and_outputs_bit_for_bit()
    {
        using var scope = NewDisposeScope();
        using var model = Design(Plain).CreateModel(seed: 1);
        using var converted = model.Convert(model.Design.Convert([1], ConvertedMixers.Mamba2));
        float[] Old(string name) => TensorMemory.ToArray<float>(model.State[$"stack.blocks.0.mixer.{name}.weight"]);
        var input = converted.Model.State["stack.blocks.0.mixer.input.weight"];
        float[] Rows(int part) => TensorMemory.ToArray<float>(input.narrow(0, Width * part, Width).contiguous());
        Assert.Equal(Old("value"), Rows(1));                    // the parts are z, x, B, C, dt
        Assert.Equal(Old("key"), Rows(2));
        Assert.Equal(Old("query"), Rows(3));
        Assert.Equal(Old("output"), TensorMemory.ToArray<float>(converted.Model.State["stack.blocks.0.mixer.output.weight"]));
        string[] kept = [.. converted.Report.Parts.Where(part => part.Origin == WeightOrigin.Kept && part.Source.EndsWith(".weight",
            StringComparison.Ordinal) && !part.Source.StartsWith("stack", StringComparison.Ordinal)).Select(part => $"{part.Part} of {part.Source}")];
        Assert.Equal(["x of value.weight", "B of key.weight", "C of query.weight", " of output.weight"], kept);
    }

    [Theory, MemberData(nameof(MixerNames))]
    public void The_report_adds_up_to_all_parameters(string from)
    {
        foreach (var (to, mixer) in Mixers)
        {
            using var model = Design(Mixers[from], Grouped).CreateModel(seed: 1);
            var design = Design(mixer, Grouped);
            using var converted = model.Convert(design);
            var report = converted.Report;
            Assert.Equal((to, design.Blocks.Sum(block => block.Mixer!.CountParameters(Width))),
                (to, report.Parts.Where(part => part.Tensor.Contains(".mixer.", StringComparison.Ordinal)).Sum(part => part.Elements)));
            Assert.Equal(converted.Model.Parameters.Sum(parameter => parameter.Value.NumberOfElements), report.Total);
            Assert.Equal(report.Total, Enum.GetValues<WeightOrigin>().Sum(report.Count));
            Assert.Contains("other tensors", report.ToTable(), StringComparison.Ordinal);
            Assert.True(Logits(converted.Model).All(float.IsFinite), $"{from} to {to}");
        }
    }

    [Fact]
    public void A_recurrent_layer_decays_like_the_attention_that_it_replaces()
    {
        using var scope = NewDisposeScope();
        using var model = Design(Plain).CreateModel(seed: 1);
        var statistics = new AttentionStatistics([new(1, [0.5, 3, 15, 99], [.. Enumerable.Repeat(0.25, Width)], [.. Enumerable.Repeat(0.1, Width)])]);
        using var converted = model.Convert(model.Design.Convert([1], ConvertedMixers.Mamba2), new() { Statistics = statistics });
        Tensor Get(string name) => converted.Model.State["stack.blocks.0.mixer." + name];
        float[] steps = TensorMemory.ToArray<float>(nn.functional.softplus(Get("dt_bias")));
        float[] rates = TensorMemory.ToArray<float>(Get("A_log").exp());
        foreach (var (head, distance) in statistics.Layers[0].MeanDistances.Index())
        {
            double decay = Math.Exp(-steps[head] * rates[head]);
            Assert.Equal(distance / (1 + distance), decay, 1e-5);               // the mean of d with weights decay^d is decay / (1 - decay)
            Assert.Equal(1 - decay, steps[head], 1e-5);
        }
        Assert.All(TensorMemory.ToArray<float>(Get("norm_weight")), scale => Assert.Equal(0.25f, scale));
        Assert.All(TensorMemory.ToArray<float>(Get("input.weight").narrow(0, 0, Width).contiguous()), gate => Assert.Equal(0.12784645f, gate, 1e-6f));
        Assert.All(TensorMemory.ToArray<float>(Get("D")), skip => Assert.Equal(0, skip));
        Assert.Equal([0, 0, 0, 1], TensorMemory.ToArray<float>(Get("conv_weight")[5]));
    }

    [Fact]
    public void Statistics_of_attention_that_sees_all_tokens_alike_are_those_of_a_mean()
    {
        using var scope = NewDisposeScope();
        using var model = Design(Grouped, new Mamba1Spec(), Plain).CreateModel(seed: 1);
        using (no_grad())
            foreach (int block in new[] { 0, 2 }) model.State[$"stack.blocks.{block}.mixer.query.weight"].zero_();
        var statistics = AttentionStatistics.Measure(model, Ids());
        Assert.Equal([1, 3], statistics.Layers.Select(layer => layer.Layer));
        // query i attends to distances 0 to i; the mean of i / 2 over 12 queries is 11 / 4
        Assert.All(statistics.Layers.SelectMany(layer => layer.MeanDistances), distance => Assert.Equal(2.75, distance, 1e-5));
        Assert.All(statistics.Layers, layer => Assert.Equal((4, Width, Width),
            (layer.MeanDistances.Count, layer.OutputScales.Count, layer.Constant.Count)));
        using var converted = model.Convert(model.Design.Convert([3], ConvertedMixers.GatedDelta), new() { Statistics = statistics });
        Assert.True(Logits(converted.Model).All(float.IsFinite));
    }

    [Fact]
    public void Multipliers_that_the_new_mixer_lacks_become_part_of_the_weights()
    {
        using var scope = NewDisposeScope();
        using var model = Design(Plain with { OutputScale = 2, InputScale = 4, KeyScale = 0.5 }).CreateModel(seed: 1);
        using var converted = model.Convert(model.Design.Convert([1], ConvertedMixers.KimiDelta));
        float[] Old(string name) => TensorMemory.ToArray<float>(model.State[$"stack.blocks.0.mixer.{name}.weight"]);
        float[] New(string name) => TensorMemory.ToArray<float>(converted.Model.State[$"stack.blocks.0.mixer.{name}.weight"]);
        Assert.Equal(Old("output").Select(value => 2 * value), New("output"));
        Assert.Equal(Old("query").Select(value => 4 * value), New("query"));
        Assert.Equal(Old("key").Select(value => 2 * value), New("key"));
    }

    [Fact]
    public void What_does_not_fit_is_refused_by_name()
    {
        using var model = Design(Plain, new Mamba1Spec()).CreateModel(seed: 1);
        var design = model.Design;
        void Refused(string name, string text, Action call)
        {
            var refusal = Assert.ThrowsAny<ArgumentException>(call);
            Assert.Equal(name, refusal.ParamName);
            Assert.Contains(text, refusal.Message, StringComparison.Ordinal);
        }
        Refused("layers", "layers is 3; expected layers from 1 to 2", () => design.Convert([3], ConvertedMixers.Mamba2));
        Refused("layers", "layers is 1; expected each layer once", () => design.Convert([1, 1], ConvertedMixers.Mamba2));
        Refused("layers", "layer 2 has Mamba-1", () => design.Convert([2], ConvertedMixers.Mamba2));
        Refused("design", "design.width is 48; expected 24", () => model.Convert(Design(Plain, Plain) with { Width = 48 }));
        Refused("design", "design.depth is 1; expected 2", () => model.Convert(Design(Plain)));
        Refused("design", "design.embeddingNorm is True; expected False", () => model.Convert(design with { EmbeddingNorm = true }));
        Refused("design", "design.zeroCenteredNorms is True", () => model.Convert(design with { ZeroCenteredNorms = true }));
        Refused("options", "options.Statistics is that of another design: layer 2",
            () => model.Convert(design, new() { Statistics = new([new(2, [1], [1], [1])]) }));
        Refused("attention", "attention.valueHeadSize is 3; expected 6", () => ConvertedMixers.LightningAttention(
            (AttentionSpec)(Plain with { ValueHeadSize = 3 }).Resolve(Width)));
        Refused("attention", "attention.headSize is 0; expected at least 1", () => ConvertedMixers.Mamba2(new() { Heads = 2 }));
        using var recurrent = Design(new Mamba1Spec()).CreateModel(seed: 1);
        Refused("model", "expected a layer whose mixer is attention", () => AttentionStatistics.Measure(recurrent, Ids()));
        LoraAdapters.Attach(model, new LoraOptions { Rank = 2 });
        Refused("model", "model has adapters", () => model.Convert(design));
    }
}
