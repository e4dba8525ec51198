using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

public class ActivationCheckpointingTests
{
    static Tensor Ids(int rows, int length, int seed)
    {
        manual_seed(seed);
        return randint(37, [rows, length], ScalarType.Int64);
    }

    /// <summary>Losses, gradients and buffers after two passes whose gradients are added up, and after the balancing that follows.</summary>
    static Dictionary<string, byte[]> TwoPasses(string name, bool checkpointing, ScalarType compute, bool packed, int savedBlocks = 0)
    {
        using var scope = NewDisposeScope();
        using var model = compute == ScalarType.Float32 ? TinyDesigns.Model(name) : TinyDesigns.Get(name).CreateModel(compute, seed: 3);
        model.Stack.ActivationCheckpointing = checkpointing;
        model.Stack.SavedBlocks = Math.Min(savedBlocks, model.Stack.Blocks.Count);
        var found = new Dictionary<string, byte[]>();
        for (int pass = 0; pass < 2; pass++)
        {
            ModelLoss loss;
            using (var layout = packed ? SequenceLayout.Packed([[5, 7, 1], [9, 3]], 13) : null)
            using (var context = new SequenceContext(layout)) loss = model.Loss(Ids(2, 13, pass), Ids(2, 13, 9 + pass), context);
            // by now context and layout are gone, as a caller may have it
            Autograd.Backward(loss.Total);
            found[$"loss {pass}"] = loss.Total.detach().bytes.ToArray();
            found[$"random {pass}"] = rand(3).bytes.ToArray();
        }
        foreach (var (parameter, value, _) in model.Parameters)
            found[parameter] = value.grad is { } gradient ? gradient.contiguous().bytes.ToArray() : [];
        foreach (var (index, block) in model.Stack.Blocks.Index())
            if (block.FeedForward?.get_buffer("load") is { } load) found[$"load {index}"] = load.bytes.ToArray();
        model.AfterStep();
        foreach (var (buffer, value) in model.State.Where(item => !found.ContainsKey(item.Key))) found[buffer] = value.bytes.ToArray();
        return found;
    }

    static void AssertSame(string name, ScalarType compute, bool packed, int savedBlocks = 0)
    {
        if (name == "experts before") Assert.Contains("load 0", TwoPasses(name, true, compute, packed).Keys);
        var (plain, again) = (TwoPasses(name, false, compute, packed), TwoPasses(name, true, compute, packed, savedBlocks));
        Assert.Equal(plain.Keys, again.Keys);
        foreach (var (key, bytes) in plain) Assert.True(bytes.AsSpan().SequenceEqual(again[key]), $"'{key}' differs");
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Gradients_losses_and_balance_are_bit_equal_to_those_without(string name) => AssertSame(name, ScalarType.Float32, packed: false);

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void They_are_with_packed_documents_and_padding(string name) => AssertSame(name, ScalarType.Float32, packed: true);

    [Theory]
    [InlineData("inter")]
    [InlineData("experts")]
    public void They_are_in_bfloat16(string name) => AssertSame(name, ScalarType.BFloat16, packed: true);

    [Theory]
    [InlineData("inter", 1)]
    [InlineData("inter", int.MaxValue)]
    [InlineData("experts", 1)]
    [InlineData("shared transformers", 1)]
    public void They_are_if_the_last_blocks_save_their_activations(string name, int savedBlocks)
    {
        AssertSame(name, ScalarType.Float32, packed: true, savedBlocks);
        AssertSame(name, ScalarType.BFloat16, packed: false, savedBlocks);
    }

    [Fact]
    public void Blocks_that_save_their_activations_are_not_computed_again()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDesigns.Model("inter");
        int again = 0, blocks = model.Stack.Blocks.Count;
        (model.Stack.ActivationCheckpointing, model.Stack.BlockRecomputed) = (true, () => again++);
        for (int saved = 0; saved <= blocks; saved++)
        {
            (model.Stack.SavedBlocks, again) = (saved, 0);
            Autograd.Backward(model.Loss(Ids(2, 9, 1), Ids(2, 9, 2)).Total);
            Assert.Equal(blocks - saved, again);
        }
        foreach (int count in (int[])[-1, blocks + 1])
            Assert.Contains($"SavedBlocks is {count}", Assert.Throws<ArgumentOutOfRangeException>(() => model.Stack.SavedBlocks = count).Message);
    }

    [Fact]
    public void Frozen_parameters_stay_without_gradient_and_the_others_get_theirs()
    {
        using var scope = NewDisposeScope();
        using var plain = TinyDesigns.Model("inter");
        using var again = TinyDesigns.Model("inter");
        again.Stack.ActivationCheckpointing = true;
        foreach (var model in new[] { plain, again })
        {
            foreach (var parameter in model.Parameters)
                parameter.Value.requires_grad = parameter.Name.StartsWith("stack.blocks.1") || parameter.Name.StartsWith("stack.blocks.2.mixer");
            Autograd.Backward(model.Loss(Ids(2, 9, 1), Ids(2, 9, 2)).Total);
        }
        foreach (var (expected, actual) in plain.Parameters.Zip(again.Parameters))
        {
            Assert.Equal(expected.Value.grad is null, actual.Value.grad is null);
            if (expected.Value.grad is { } gradient) Assert.True(gradient.equal(actual.Value.grad!).all().item<bool>(), expected.Name);
        }
        Assert.Contains(again.Parameters, parameter => parameter.Value.grad is not null);
    }

    [Fact]
    public void Blocks_keep_their_inputs_alone_and_are_computed_again_once_each()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDesigns.Model("inter");
        model.Stack.ActivationCheckpointing = true;
        int again = 0;
        model.Stack.BlockRecomputed = () => again++;
        using (no_grad()) model.Loss(Ids(2, 9, 1), Ids(2, 9, 2));
        var loss = model.Loss(Ids(2, 9, 1), Ids(2, 9, 2)).Total;
        Assert.Equal(0, again);
        Autograd.Backward(loss, retainGraph: true);
        Assert.Equal(model.Design.Depth, again);
        var once = model.Parameters.ToDictionary(item => item.Name, item => item.Value.grad!.clone());
        Autograd.Backward(loss);                            // the retained graph computes the blocks once more
        foreach (var item in model.Parameters) Assert.True((once[item.Name] * 2).equal(item.Value.grad!).all().item<bool>(), item.Name);
    }

    [Fact]
    public void Steps_leave_no_tensor_behind()
    {
        using var model = TinyDesigns.Model("experts");
        model.Stack.ActivationCheckpointing = true;
        int steps = 0;
        LiveTensors.AssertNoneLeftBy(() =>
        {
            using var scope = NewDisposeScope();
            var loss = model.Loss(Ids(2, 16, 1), Ids(2, 16, 4)).Total;
            if (steps++ % 2 == 0) Autograd.Backward(loss);
            foreach (var parameter in model.Parameters) parameter.Value.grad = null;
        });
    }

    [Fact]
    public void A_failure_in_the_second_computation_reaches_the_caller()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDesigns.Model("transformer");
        model.Stack.ActivationCheckpointing = true;
        model.Stack.BlockRecomputed = () => throw new InvalidDataException("on purpose");
        var loss = model.Loss(Ids(1, 5, 1), Ids(1, 5, 2)).Total;
        Assert.Equal("on purpose", Assert.Throws<InvalidDataException>(() => Autograd.Backward(loss)).Message);
    }
}
