using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

public class BlockHooksTests
{
    [Theory]
    [InlineData("MTM", false)]
    [InlineData("MTM", true)]
    [InlineData("WWW", false)]
    [InlineData("WWW", true)]
    public void Gradients_of_a_block_are_complete_after_its_backward_pass_and_equal_those_without_hooks(string pattern, bool checkpointing)
    {
        using var scope = NewDisposeScope();
        // the losses of the experts enter the graph in the middle of blocks, and the head of the model is its embedding; the values of the first
        // block are read by the others
        using var model = HybridDesign.Create(16, 20).WithMamba2(stateSize: 4, headSize: 8).WithAttention(2)
            .WithMixer(new Rwkv7Spec { Heads = 2, ValueRank = 3 })
            .WithFeedForward(FeedForwardSpec.MixtureOfExperts(3, 1, 12) with { Balance = ExpertBalance.AuxiliaryLoss, BalanceRate = 0.1 })
            .Pattern(pattern).Build().CreateModel(seed: 1);
        model.Stack.ActivationCheckpointing = checkpointing;
        var ids = randint(20, [2, 12], ScalarType.Int64);
        var expected = Gradients(model, ids);
        var recorder = new Recorder(model);
        model.Stack.Hooks = recorder;
        Assert.Equal(expected, Gradients(model, ids));
        Assert.Equal("forward 0 1 2, backward 2 1 0", recorder.ToString());
        foreach (var (name, value) in recorder.Complete) Assert.Equal(expected[name], value);
        Assert.Equal(model.Parameters.Count(item => item.Name.StartsWith("stack.blocks.")), recorder.Complete.Count);
        using (no_grad()) model.Forward(ids);
        Assert.Equal("forward 0 1 2 0 1 2, backward 2 1 0", recorder.ToString());
    }

    static Dictionary<string, float[]> Gradients(HybridLanguageModel model, Tensor ids)
    {
        Autograd.Backward(model.Loss(ids, ids).Total);
        var found = model.Parameters.ToDictionary(item => item.Name, item => TensorMemory.ToArray<float>(item.Value.grad!));
        foreach (var item in model.Parameters) item.Value.grad = null;
        return found;
    }

    sealed class Recorder(HybridLanguageModel model) : BlockHooks
    {
        readonly List<int> forward = [], entered = [], backward = [];

        public Dictionary<string, float[]> Complete { get; } = [];

        protected override void BeforeForward(int block) => forward.Add(block);

        protected override void AfterForward(int block) => Assert.Equal(forward[^1], block);

        protected override void BeforeBackward(int block)
        {
            entered.Add(block);
            Assert.All(model.Parameters.Where(item => item.Name.StartsWith($"stack.blocks.{block}.")), item => Assert.Null(item.Value.grad));
        }

        protected override void AfterBackward(int block)
        {
            Assert.Equal(entered[^1], block);
            backward.Add(block);
            foreach (var (name, value, _) in model.Parameters)
                if (name.StartsWith($"stack.blocks.{block}.")) Complete.Add(name, TensorMemory.ToArray<float>(value.grad!));
        }

        public override string ToString() => $"forward {string.Join(' ', forward)}, backward {string.Join(' ', backward)}";
    }
}
