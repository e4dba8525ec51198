using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Conversion;

/// <summary>
/// Trains each replaced mixer of a converted model to compute the output of the teacher's mixer from the teacher's input of that layer (hidden-state
/// alignment, arXiv 2408.10189, section 4.2; attention transfer, arXiv 2410.10254). The loss is the sum over the replaced layers of
/// |y - y_teacher|^2 / |y_teacher|^2. Only the replaced mixers get gradients; all other weights stay as they are.
/// </summary>
/// <remarks>
/// Use it as the objective of a <see cref="Trainer"/> before <see cref="Distillation"/>. All layers are trained from one pass of the teacher. The
/// history of the run contains the mean relative error of the layers in place of a cross entropy. The measurements on held-out data are those of the
/// model. Not supported: parameters that are divided over ranks (<see cref="DataParallelStrategy.FullySharded"/>,
/// <see cref="DataParallelStrategy.Hybrid"/>).
/// </remarks>
/// <example>
/// <code>
/// using var data = TokenDataset.FromTokens(Enumerable.Range(0, 20_000).Select(i => i * i % 251).ToArray(), 256);
/// using var teacher = HybridDesign.Create(width: 32, vocabularySize: 256).WithAttention(heads: 2).WithFeedForward(FeedForwardSpec.SwiGlu(64))
///     .Depth(2).Build().CreateModel(seed: 0);
/// using var converted = teacher.Convert(teacher.Design.Convert(layers: [1], ConvertedMixers.Mamba2));
/// var options = new TrainingOptions { LearningRate = 3e-3, ContextLength = 64, BatchSize = 4, Duration = Duration.Steps(5) };
/// using var trainer = new Trainer(converted.Model, data, options, callbacks: [new LayerMatching(teacher)]);
/// Console.WriteLine($"relative error {trainer.Run().History[^1].Loss:0.00}");
/// </code>
/// </example>
public sealed class LayerMatching : TrainingObjective
{
    readonly Teacher teacher;

    /// <summary>Creates the objective.</summary>
    /// <param name="teacher">
    /// The model that was converted, on the device of the new model. The caller disposes it, and must not change it during the run.
    /// </param>
    public LayerMatching(HybridLanguageModel teacher)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        this.teacher = new Teacher(teacher);
        Description = $"layer matching, teacher {this.teacher.Mark}";
    }

    /// <summary>Gets a mark of the teacher's design and weights (a hash of the first 4,096 elements of each tensor).</summary>
    public override string Description { get; }

    /// <inheritdoc/>
    public override ModelLoss Compute(HybridLanguageModel model, TokenBatch batch, SequenceContext context)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(context);
        if (model.Stack.Hooks is ShardedParameters)
            throw new NotSupportedException(
                $"the parameters of the model are divided over ranks; expected {DataParallelStrategy.Replicated} or "
                + $"{DataParallelStrategy.ShardedOptimizer} for layer matching.");
        var blocks = ReplacedBlocks(model);
        int source = OtherSource(model, blocks);
        using var scope = NewDisposeScope();
        var expected = teacher.Ask(one => Record(one, batch, source < 0 ? blocks : [.. blocks, source]));
        context.Begin(batch.Ids.size(0), batch.Ids.size(1), model.Device);
        if (source >= 0) HandOnValues(model, source, expected[source].Input, context);
        Tensor? sum = null;
        foreach (int block in blocks)
        {
            var (input, output) = expected[block];
            context.Block = block;
            var found = model.Stack.Blocks[block].Mixer!.Forward(input.to(model.ComputeType), context, null);
            var error = RelativeError(found, output, batch.Layout?.Valid);
            sum = sum is null ? error : sum.add(error, Scalars.One);
        }
        var mean = sum!.detach().div(Scalars.From(blocks.Length));
        return new ModelLoss(sum.MoveToOuterDisposeScope(), mean.MoveToOuterDisposeScope());
    }

    // the index of the block whose values replaced mixers read, if its mixer is not replaced itself; -1 if there is none
    static int OtherSource(HybridLanguageModel model, int[] blocks)
    {
        if (!blocks.Any(block => model.Stack.Blocks[block].ReadsFirstValues)) return -1;
        int source = model.Stack.Blocks.Index().First(item => item.Item.HandsOnValues).Index;
        return blocks.Contains(source) ? -1 : source;
    }

    // computes a mixer for the values that later ones read
    static void HandOnValues(HybridLanguageModel model, int block, Tensor input, SequenceContext context)
    {
        using var noGrad = no_grad();
        context.Block = block;
        model.Stack.Blocks[block].Mixer!.Forward(input.to(model.ComputeType), context, null);
    }

    // the input and the output of the mixers of some blocks
    static Dictionary<int, (Tensor Input, Tensor Output)> Record(HybridLanguageModel model, TokenBatch batch, int[] blocks)
    {
        var records = new Dictionary<int, (Tensor Input, Tensor Output)>();
        using var context = new SequenceContext(batch.Layout)
        {
            AroundMixer = (pass, x, mix) =>
            {
                var y = mix(x);
                if (blocks.Contains(pass.Block)) records.Add(pass.Block, (x.alias().DetachFromDisposeScope(), y.alias().DetachFromDisposeScope()));
                return y;
            },
        };
        model.Hidden(batch.Ids, context).Dispose();
        // from now on, the current dispose scope owns them
        return records.ToDictionary(item => item.Key, item => (Owned(item.Value.Input), Owned(item.Value.Output)));
    }

    static Tensor Owned(Tensor tensor)
    {
        using (tensor) return tensor.alias();
    }

    static Tensor RelativeError(Tensor found, Tensor expected, Tensor? valid)
    {
        using var scope = NewDisposeScope();
        var (wide, target) = (found.to(Wide(found)), expected.to(Wide(found)));
        var difference = wide - target;
        if (valid is not null)
        {
            var padding = valid.logical_not().unsqueeze(-1);
            (difference, target) = (difference.masked_fill(padding, Scalars.Zero), target.masked_fill(padding, Scalars.Zero));
        }
        var size = (target * target).sum();
        // a layer that adds nothing has no relative error
        return ((difference * difference).sum() / size.add(size.eq(Scalars.Zero), Scalars.One)).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    static ScalarType Wide(Tensor x) => x.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;

    int[] ReplacedBlocks(HybridLanguageModel model)
    {
        var (before, after) = (teacher.Model.Design, model.Design);
        if (before.Width != after.Width || before.Depth != after.Depth)
            throw Require.Unfit("teacher", $"teacher has width {before.Width} and {before.Depth} blocks",
                $"width {after.Width} and {after.Depth} blocks, as the model has");
        teacher.RequireDeviceOf(model);
        int[] blocks = [.. Enumerable.Range(0, after.Depth).Where(block => before.Blocks[block].Mixer is { } mixer
            && after.Blocks[block].Mixer is { } replaced && !mixer.Equals(replaced))];
        if (blocks.Length == 0)
            throw Require.Unfit("teacher", $"teacher has the mixers of the model, {after.Pattern}", "a model from which it was converted");
        return blocks;
    }
}
