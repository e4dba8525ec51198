using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Storage;
using HybridArchitectures.Tests.Checkpoints;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Modules;

/// <summary>Compares HGRN2 with its recurrence head by head, in float64, and tests the lower bounds that all layers of a file share.</summary>
public class Hgrn2Tests
{
    const int Width = 12, Length = 11;

    static readonly Hgrn2Spec spec = new() { Heads = 3, KeyHeadSize = 5, ValueHeadSize = 2, ChunkSize = 4, OutputNormEpsilon = 1e-3 };

    static HybridDesign Design(MixerSpec mixer, int depth) =>
        HybridDesign.Create(Width, 20).WithMixer(mixer).WithFeedForward(new SwiGluSpec(10)).Pattern(new string('h', depth)).Build();

    // the recurrence of the paper
    static Tensor Expected(Hgrn2 module, Tensor x)
    {
        Tensor Weight(string name) => module.get_parameter(name)!.to(ScalarType.Float64);
        Tensor Project(string name) => x.mm(Weight($"{name}.weight").t());
        var bound = Weight("lower_bound").sigmoid();
        var gates = bound + (1 - bound) * Project("forget").sigmoid();
        var (raw, values) = (Project("query"), Project("value"));
        var queries = raw * raw.sigmoid();
        var heads = Enumerable.Range(0, spec.Heads).Select(head =>
        {
            var state = zeros(spec.KeyHeadSize, spec.ValueHeadSize, ScalarType.Float64);
            var outputs = new Tensor[Length];
            for (int t = 0; t < Length; t++)
            {
                Tensor Row(Tensor tensor, int size) => tensor[t].narrow(0, head * size, size);
                var gate = Row(gates, spec.KeyHeadSize);
                state = gate.unsqueeze(1) * state + (1 - gate).outer(Row(values, spec.ValueHeadSize));
                outputs[t] = (Row(queries, spec.KeyHeadSize).unsqueeze(1) * state).sum([0L]) / Math.Sqrt(spec.KeyHeadSize);
            }
            return stack(outputs);
        });
        var mixed = cat([.. heads], 1);
        return (mixed * (mixed.pow(2).mean([-1], true) + 1e-3).rsqrt() * Weight("norm_weight")).mm(Weight("output.weight").t());
    }

    [Fact]
    public void It_is_the_recurrence_of_the_paper_with_the_gradients_of_that()
    {
        using var scope = NewDisposeScope();
        using var factory = new ModuleFactory(Design(spec, 1), CPU, seed: 4);
        using var module = new Hgrn2(factory, spec);
        MixerFormula.Matches(module, Length, Width, x => Expected(module, x));
    }

    static readonly Hgrn2Spec published = new() { Heads = 2, OutputNormEpsilon = 1e-5 };

    static HybridLanguageModel Bounded(int depth, params double[] bounds)
    {
        var design = Design(published, depth);
        var first = design.Blocks[0] with { Mixer = ((Hgrn2Spec)design.Blocks[0].Mixer!) with { LowerBound = false } };
        var model = (design with { Blocks = [first, .. design.Blocks.Skip(1)] }).CreateModel(seed: 2);
        using var noGrad = no_grad();
        for (int layer = 1; layer < depth; layer++)
            model.State[$"stack.blocks.{layer}.mixer.lower_bound"].fill_(Math.Log(bounds[layer - 1] / (1 - bounds[layer - 1])));
        return model;
    }

    [Fact]
    public void A_file_stores_the_logarithms_of_what_each_layer_adds_to_the_bound()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        using var model = Bounded(4, 0.1, 0.4, 0.75);
        string place = Path.Combine(folder.Path, "model");
        PretrainedModel.Save(model, place, "hgrn2");
        using (var file = SafetensorsFile.Open(Path.Combine(place, "model.safetensors")))
        {
            var shares = file.Read("model.lower_bounds").to(ScalarType.Float64).softmax(0).select(1, 5).data<double>().ToArray();
            Assert.Equal([0.25, 0.1, 0.3, 0.35], shares.Select(share => Math.Round(share, 6)));
        }
        using var again = PretrainedModel.Load(place);
        foreach (var (name, tensor) in model.State)
            Assert.True((again.State[name] - tensor).abs().max().item<float>() < 1e-5, name);
    }

    [Fact]
    public void Bounds_that_fall_from_layer_to_layer_cannot_be_stored()
    {
        using var folder = new TemporaryFolder();
        using var model = Bounded(3, 0.6, 0.5);
        string message = Assert.Throws<ArgumentException>(() => PretrainedModel.Save(model, Path.Combine(folder.Path, "model"), "hgrn2")).Message;
        Assert.Contains("lower bounds that fall before layer 3, expected bounds that rise from layer to layer", message);
    }
}
