using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Checkpoints;

public sealed class CheckpointDiffTests : IDisposable
{
    readonly DisposeScope scope = NewDisposeScope();
    readonly TemporaryFolder folder = new();

    public void Dispose()
    {
        scope.Dispose();
        folder.Dispose();
    }

    static string Case(string name) => Path.Combine(ConformanceTests.Folder, name);

    static Tensor Ids(int vocabulary)
    {
        manual_seed(1);
        return randint(vocabulary, [2, 9], ScalarType.Int64);
    }

    [Fact]
    public void A_checkpoint_equals_itself()
    {
        var diff = CheckpointDiff.Compare(Case("llama"), Case("llama"), Ids(50));
        Assert.True(diff.AreEqual, diff.ToString());
        Assert.Null(diff.FirstDivergence);
        Assert.All(diff.Tensors, tensor => Assert.True(tensor is { Change: TensorChange.None, DifferenceNorm: 0, MaxDifference: 0, LeftNorm: > 0 }));
        Assert.Contains("designs: the same", diff.ToString());
        Assert.Contains($"tensors: {diff.Tensors.Count} the same", diff.ToString());
    }

    [Fact]
    public void A_changed_weight_is_found_with_its_size_and_the_first_layer_that_feels_it()
    {
        using (var model = TinyDesigns.Model("inter"))
        {
            Checkpoint.Save(model, folder["left"]);
            using (no_grad()) model.State["stack.blocks.2.mixer.key.weight"][1, 2].add_(3);
            Checkpoint.Save(model, folder["right"]);
        }
        var diff = CheckpointDiff.Compare(folder["left"], folder["right"], Ids(37));
        var changed = Assert.Single(diff.WithChange(TensorChange.Values));
        Assert.Equal("stack.blocks.2.mixer.key.weight", changed.Name);
        Assert.Equal(3, changed.DifferenceNorm!.Value, 1e-5);
        Assert.Equal(3, changed.MaxDifference!.Value, 1e-5);
        Assert.Equal((3, "block 3 (Attention, SwiGluFeedForward)"), (diff.FirstDivergence!.Block!.Value, diff.FirstDivergence.Layer));
        Assert.Equal(["embedding", "block 1 (Mamba2, SwiGluFeedForward)", "block 2 (Mamba1, SwiGluFeedForward)"],
            diff.Layers.TakeWhile(layer => layer.Error == 0).Select(layer => layer.Layer));
        Assert.False(diff.AreEqual);
        Assert.Contains("outputs: diverge from block 3 (Attention, SwiGluFeedForward) on", diff.ToString());
        Assert.Contains("stack.blocks.2.mixer.key.weight  Float32[12, 24]", diff.ToString());
    }

    [Fact]
    public void Different_names_shapes_and_types_are_distinguished()
    {
        SafetensorsFile.Write(folder["left.safetensors"],
            new Dictionary<string, Tensor> { ["a"] = ones(2, 3), ["b"] = ones(4), ["c"] = ones(2), ["gone"] = ones(1) * 5,
            ["nan"] = full(2, float.NaN) });
        SafetensorsFile.Write(folder["right.safetensors"],
            new Dictionary<string, Tensor> { ["a"] = ones(3, 2), ["b"] = ones(4).to(ScalarType.BFloat16), ["c"] = ones(2), ["new"] = ones(1),
            ["nan"] = full(2, float.NaN) });
        var diff = CheckpointDiff.Compare(folder["left.safetensors"], folder["right.safetensors"]);
        Assert.Equal(
            [("a", TensorChange.Shape), ("b", TensorChange.Type), ("c", TensorChange.None), ("gone", TensorChange.OnlyLeft),
            ("nan", TensorChange.None), ("new", TensorChange.OnlyRight)],
            diff.Tensors.Select(tensor => (tensor.Name, tensor.Change)));
        Assert.Equal("Float32[2, 3]", diff.Tensors[0].Left);
        Assert.Equal((2, 0, "BFloat16[4]"), (diff.Tensors[1].LeftNorm!.Value, diff.Tensors[1].DifferenceNorm!.Value, diff.Tensors[1].Right));
        Assert.Equal((5, null), (diff.Tensors[3].LeftNorm!.Value, diff.Tensors[3].RightNorm));
        Assert.Null(diff.Design);
        Assert.Contains("2 the same, 1 of another type, 1 of another shape, 1 only left, 1 only right", diff.ToString());
    }

    [Fact]
    public void Folders_of_another_layout_are_compared_as_the_models_they_hold()
    {
        using (var model = PretrainedModel.Load(Case("bamba"))) Checkpoint.Save(model, folder["own"]);
        var diff = CheckpointDiff.Compare(Case("bamba"), folder["own"], Ids(50));
        Assert.True(diff.AreEqual, diff.ToString());
        Assert.Contains(diff.Tensors, tensor => tensor.Name == "stack.norm.weight");
    }

    [Fact]
    public void Rounding_to_bfloat16_shows_in_types_and_outputs()
    {
        using (var model = PretrainedModel.Load(Case("llama")))
            PretrainedModel.Save(model, folder["half"], "llama", new() { Type = ScalarType.BFloat16 });
        var diff = CheckpointDiff.Compare(Case("llama"), folder["half"], Ids(50));
        Assert.Equal(diff.Tensors.Count, diff.WithChange(TensorChange.Type).Count);
        Assert.Contains(diff.Tensors, tensor => tensor.DifferenceNorm > 0 && tensor.DifferenceNorm < 0.01 * tensor.LeftNorm);
        Assert.Equal("embedding", diff.FirstDivergence!.Layer);
        Assert.Null(CheckpointDiff.Compare(Case("llama"), folder["half"], Ids(50), tolerance: 0.1).FirstDivergence);
    }

    [Fact]
    public void Designs_differ_in_settings_names_and_shapes()
    {
        var left = TinyDesigns.Get("inter");
        var right = left with { Blocks = [
            .. left.Blocks.Select((block, index) => index == 2 ? block with { Mixer = ((AttentionSpec)block.Mixer!) with { KeyValueHeads = 4 } }
            : block)], TiedHead = false };
        var diff = CheckpointDiff.Compare(left, right);
        Assert.Equal(left.Diff(right), diff.Design);
        Assert.Equal(["stack.blocks.2.mixer.key.weight", "stack.blocks.2.mixer.value.weight"],
            diff.WithChange(TensorChange.Shape).Select(tensor => tensor.Name));
        Assert.Equal("head", Assert.Single(diff.WithChange(TensorChange.OnlyRight)).Name);
        Assert.Contains("keyValueHeads: 2 -> 4", diff.ToString());
        Assert.True(CheckpointDiff.Compare(left, left).AreEqual);
    }

    [Fact]
    public void Models_of_unequal_depth_and_width_diverge_where_they_do()
    {
        using var left = TinyDesigns.Get("inter").CreateModel(seed: 1);
        using var shorter = (TinyDesigns.Get("inter") with { Blocks = [.. TinyDesigns.Get("inter").Blocks.Take(2)] }).CreateModel(seed: 1);
        using var wider = (HybridDesign.Create(32, 37).WithAttention(4).WithFeedForward(FeedForwardSpec.SwiGlu(8)).Pattern("T").Build())
            .CreateModel(seed: 1);
        var diff = CheckpointDiff.Compare(left, shorter, Ids(37));
        Assert.Equal("final norm", diff.FirstDivergence!.Layer);
        Assert.Equal(double.PositiveInfinity, CheckpointDiff.Compare(left, wider, Ids(37)).FirstDivergence!.Error);
        Assert.Contains("block 1 (Mamba2, SwiGluFeedForward) / block 1 (Attention", CheckpointDiff.Compare(left, wider, Ids(37)).ToString());
    }

    [Fact]
    public void Anything_but_a_checkpoint_is_refused()
    {
        Assert.Throws<FileNotFoundException>(() => CheckpointDiff.Compare(Case("llama"), folder["nothing"]));
        Directory.CreateDirectory(folder["empty"]);
        Assert.Throws<FileNotFoundException>(() => CheckpointDiff.Compare(Case("llama"), folder["empty"]));
        SafetensorsFile.Write(folder["a.safetensors"], new Dictionary<string, Tensor> { ["a"] = ones(2) });
        Assert.Throws<ArgumentException>("right", () => CheckpointDiff.Compare(Case("llama"), folder["a.safetensors"]));
        Assert.Throws<ArgumentException>("left", () => CheckpointDiff.Compare(folder["a.safetensors"], folder["a.safetensors"], Ids(5)));
    }
}
