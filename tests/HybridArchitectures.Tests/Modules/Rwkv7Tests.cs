using HybridArchitectures.Conversion;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Modules;

/// <summary>
/// Compares RWKV-7 with a layer of flash-linear-attention. Cases/rwkv7/make_case.py recorded its outputs, state and gradients in float64.
/// </summary>
public class Rwkv7Tests
{
    const int Width = 12, Heads = 3;

    static readonly Rwkv7Spec spec = new() { Heads = Heads, HeadSize = 4, DecayRank = 5, RateRank = 3, GateRank = 7, ChunkSize = 8 };

    // the rows of the mix, in order
    static readonly string[] mixes = ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g"];

    static readonly Dictionary<string, string> names = new()
    {
        ["query.weight"] = "r_proj.weight", ["key.weight"] = "k_proj.weight", ["value.weight"] = "v_proj.weight", ["output.weight"] = "o_proj.weight",
        ["decay_down.weight"] = "w_lora.lora.0.weight", ["decay_up.weight"] = "w_lora.lora.2.weight", ["decay_bias"] = "w_lora.lora.2.bias",
        ["rate_down.weight"] = "a_lora.lora.0.weight", ["rate_up.weight"] = "a_lora.lora.2.weight", ["rate_bias"] = "a_lora.lora.2.bias",
        ["gate_down.weight"] = "g_lora.lora.0.weight", ["gate_up.weight"] = "g_lora.lora.2.weight", ["removal_scale"] = "k_k",
        ["replacement_scale"] = "k_a", ["bonus_scale"] = "r_k", ["norm_weight"] = "g_norm.weight", ["norm_bias"] = "g_norm.bias",
    };

    static SafetensorsFile Recorded() => SafetensorsFile.Open(Path.Combine(AppContext.BaseDirectory, "Cases", "rwkv7", "layer.safetensors"));

    // a recorded tensor, or its gradient, in the shape of a parameter
    static Tensor Read(SafetensorsFile file, string parameter, string prefix) => parameter == "mix"
        ? cat([.. mixes.Select(name => file.Read(prefix + name).view(1, Width))], 0)
        : file.Read(prefix + names[parameter]).flatten();

    static Rwkv7 Layer(SafetensorsFile file)
    {
        var design = HybridDesign.Create(Width, 20).WithMixer(spec).WithFeedForward(new SwiGluSpec(10)).Pattern("WW").Build();
        using var factory = new ModuleFactory(design, CPU, seed: 4);
        var layer = new Rwkv7(factory, spec);
        using var noGrad = no_grad();
        foreach (var (name, parameter) in layer.named_parameters()) parameter.copy_(Read(file, name, "").view(parameter.shape));
        return layer;
    }

    static double Difference(Tensor expected, Tensor actual) => (expected - actual.view(expected.shape)).abs().max().item<double>();

    [Fact]
    public void It_is_the_layer_of_flash_linear_attention_with_its_gradients()
    {
        using var scope = NewDisposeScope();
        using var file = Recorded();
        using var layer = Layer(file);
        var x = file.Read("x").requires_grad_();
        using var context = new SequenceContext();
        var y = layer.Forward(x, context, null);
        Assert.True(Difference(file.Read("y"), y) < 1e-11);
        Autograd.Backward((y * file.Read("weights")).sum());
        Assert.True(Difference(file.Read("grad.x"), x.grad!) < 1e-10);
        foreach (var (name, parameter) in layer.named_parameters())
        {
            var right = Read(file, name, "grad.");
            // gradients of float32 parameters are rounded to float32
            double allowed = 1e-6 * Math.Max(1, right.abs().max().item<double>());
            Assert.True(Difference(right, parameter.grad!.to(ScalarType.Float64)) < allowed, name);
        }
    }

    [Theory, InlineData(1), InlineData(5), InlineData(21)]
    public void Pieces_of_a_row_continue_from_its_state(int size)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var file = Recorded();
        using var layer = Layer(file);
        var x = file.Read("x");
        using var state = layer.CreateState((int)x.size(0), ScalarType.Float64, CPU);
        Tensor Forward(Tensor piece)
        {
            using var context = new SequenceContext();
            return layer.Forward(piece, context, state);
        }
        var pieces = x.split(size, 1).Select(Forward).ToArray();
        Assert.True(Difference(file.Read("y"), cat(pieces, 1)) < 1e-11);
        Assert.True(Difference(file.Read("state"), ((RecurrentState)state).Scan) < 1e-11);
    }

    static Rwkv7Spec Reader => new() { Heads = 2, HeadSize = 3, DecayRank = 4, RateRank = 2, GateRank = 3, ValueRank = 5 };

    static HybridDesignBuilder Small => HybridDesign.Create(6, 20).WithAttention(heads: 3).WithFeedForward(new SwiGluSpec(10));

    [Fact]
    public void The_builder_leaves_the_first_layer_without_a_rank_of_values()
    {
        var design = Small.WithMixer(Reader).Pattern("TWTW").Build();
        Assert.Equal([null, null, null, 5], design.Blocks.Select(block => (block.Mixer as Rwkv7Spec)?.ValueRank));
    }

    static IEnumerable<int?> Ranks(HybridDesign design) => design.Blocks.Select(block => (block.Mixer as Rwkv7Spec)?.ValueRank);

    [Fact]
    public void The_layer_that_becomes_the_first_has_no_rank_of_values()
    {
        var attention = new AttentionSpec { Heads = 3 };
        var design = Small.WithMixer(Reader).Pattern("WWW").Build();
        Assert.Equal([null, null, 5], Ranks(Small.WithMixer(Reader).Pattern("WWW").Override(1, block => block with { Mixer = attention }).Build()));
        Assert.Equal([null, 5, 5], Ranks(Small.WithMixer(Reader).Pattern("TWW").Override(1, block => block with { Mixer = Reader }).Build()));
        Assert.Equal([null, null, 5], Ranks(design.Convert([1], attention)));
        Assert.Equal([null, 5, 5], Ranks(Small.Pattern("TTT").Build().Convert([3, 1, 2], _ => Reader)));
    }

    [Fact]
    public void Layers_that_read_values_need_an_earlier_layer_of_the_same_size()
    {
        var design = Small.WithMixer(Reader).Pattern("WTW").Build();
        var last = design.Blocks[2];
        string Refused(params BlockSpec[] blocks) =>
            Assert.Throws<ArgumentException>(() => (design with { Blocks = [.. blocks] }).Resolve()).Message;
        Assert.Contains("block 1: mixer W: valueRank is 5; expected null in the first layer of RWKV-7", Refused(last));
        var wide = last with { Mixer = Reader with { Heads = 4 } };
        Assert.Contains("block 2: mixer W: heads x headSize is 12; expected 6, the size of the values of block 1", Refused(design.Blocks[0], wide));
    }

    [Fact]
    public void A_layer_that_reads_values_is_refused_in_a_pass_without_any()
    {
        using var scope = NewDisposeScope();
        using var factory = new ModuleFactory(Small.WithMixer(Reader).Pattern("WW").Build(), CPU, seed: 1);
        using var layer = new Rwkv7(factory, Reader);
        using var context = new SequenceContext();
        string message = Assert.Throws<InvalidOperationException>(() => layer.Forward(zeros(1, 2, 6), context, null)).Message;
        Assert.Contains("the pass has no values of an earlier layer of RWKV-7", message);
    }

    [Fact]
    public void Values_of_the_first_layer_get_gradients_from_later_layers()
    {
        using var scope = NewDisposeScope();
        using var model = Small.WithMixer(Reader).Pattern("WW").Build().CreateModel(seed: 2);
        var state = model.State;
        using (no_grad())
        {
            // the first block adds nothing to the stream, and the second takes all values from it
            state["stack.blocks.0.mixer.output.weight"].zero_();
            state["stack.blocks.1.mixer.value_bias"].fill_(100);
        }
        var ids = tensor(new long[] { 3, 5, 7 }).view(1, 3);
        Autograd.Backward(model.Forward(ids).pow(2).sum());
        Assert.True(state["stack.blocks.0.mixer.value.weight"].grad!.abs().max().item<float>() > 1e-6);
        Assert.Equal(0, state["stack.blocks.1.mixer.value.weight"].grad!.abs().max().item<float>());
    }

    [Fact]
    public void A_new_layer_starts_as_the_training_code_of_the_authors_does()
    {
        using var scope = NewDisposeScope();
        // 3 blocks of 2 heads of 2 channels; the second block
        var design = HybridDesign.Create(4, 20).WithMixer(new Rwkv7Spec { Heads = 2 }).WithFeedForward(new SwiGluSpec(10)).Pattern("WWW").Build();
        using var model = design.CreateModel(seed: 1);
        double[] Values(string name) => model.State[$"stack.blocks.1.mixer.{name}"].to(ScalarType.Float64).data<double>().ToArray();
        static void Near(double[] expected, double[] actual) =>
            Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second, 1e-6));
        double share = 2.0 / 3;     // 1 - layer / depth
        Near([1, 1 - Math.Pow(0.25, 0.2 * share), 1 - Math.Pow(0.5, 0.2 * share), 1 - Math.Pow(0.75, 0.2 * share)], Values("mix")[..4]);
        // -6 + 6 (n / 3)^(1 + 0.5^0.3) + 0.5 + 2.5 zigzag, where a zigzag of two channels is -1 and 1
        double[] speeds = [.. Enumerable.Range(0, 4).Select(n => -5.5 + 6 * Math.Pow(n / 3.0, 1 + Math.Pow(0.5, 0.3)) + (n % 2 == 0 ? -2.5 : 2.5))];
        Near(speeds, Values("decay_bias"));
        Near([-0.19 - 0.3 - 0.2, -0.19 + 0.3 - 0.2 / 3, -0.19 - 0.3 + 0.2 / 3, -0.19 + 0.3 + 0.2], Values("rate_bias"));
        Near([0.76, 0.71 + 0.05 / 3, 0.71 - 0.05 / 3, 0.66], Values("removal_scale"));
        Near([Math.Pow(2.0 / 3, 0.7)], Values("norm_weight")[..1]);
    }
}
