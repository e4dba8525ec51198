using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// Trains a model to predict what a teacher predicts (arXiv 1503.02531): (1 - share) x cross entropy + share x T^2 x KL(p || q), where p and q are
/// the distributions of teacher and model at temperature T. The mean is over the targets that count. Auxiliary losses of layers are added.
/// </summary>
/// <remarks>
/// The logits of both models are stored for the targets of a forward pass: 4 bytes x targets x vocabulary size each, and as much again for
/// gradients. <see cref="TrainingOptions.MicroBatchSize"/> limits them. Not supported: a design with a z-loss of the head.
/// </remarks>
public sealed class Distillation : TrainingObjective
{
    // of each tensor, for the description
    const int HashedElements = 4096;

    readonly HybridLanguageModel teacher;
    readonly double share, temperature;

    /// <summary>Creates the objective.</summary>
    /// <param name="teacher">The teacher, on the device of the model. The caller disposes it, and must not change it during the run.</param>
    /// <param name="share">The share of the divergence in the loss, above 0 and at most 1. The default is 0.5.</param>
    /// <param name="temperature">The temperature T, above 0. The default is 1.</param>
    public Distillation(HybridLanguageModel teacher, double share = 0.5, double temperature = 1)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        Require.InRange(share is > 0 and <= 1, nameof(share), share, "a share in (0, 1]");
        Require.InRange(temperature > 0 && double.IsFinite(temperature), nameof(temperature), temperature, "a finite number above 0");
        (this.teacher, this.share, this.temperature) = (teacher, share, temperature);
        Description = string.Create(CultureInfo.InvariantCulture,
            $"distillation, share {share:r}, temperature {temperature:r}, teacher {Mark(teacher)}");
    }

    /// <summary>
    /// Gets share, temperature, and a mark of the teacher's design and weights (a hash of the first 4,096 elements of each tensor).
    /// </summary>
    public override string Description { get; }

    static string Mark(HybridLanguageModel teacher)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(teacher.Design.ToJson()));
        using var noGrad = no_grad();
        foreach (var (name, value) in teacher.State.OrderBy(item => item.Key, StringComparer.Ordinal))
        {
            using var scope = NewDisposeScope();
            var flat = value.detach().reshape(-1);
            var first = flat.narrow(0, 0, Math.Min(HashedElements, flat.size(0))).to(ScalarType.Float32);
            hash.AppendData(Encoding.UTF8.GetBytes(name));
            hash.AppendData(System.Runtime.InteropServices.MemoryMarshal.AsBytes(TensorMemory.ToArray<float>(first).AsSpan()));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset())[..16];
    }

    /// <inheritdoc/>
    public override ModelLoss Compute(HybridLanguageModel model, TokenBatch batch, SequenceContext context)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(context);
        Check(model);
        using var scope = NewDisposeScope();
        var targets = batch.Targets.flatten();
        var counted = targets.ne(Scalars.From(TrainingRow.NoTarget)).nonzero().flatten();
        var logits = model.Logits(Counted(model, batch.Ids, context, counted));
        var weights = batch.Weights?.flatten().index_select(0, counted);
        var logarithms = logits.log_softmax(-1);
        var crossEntropy = Mean(logarithms.gather(-1, targets.index_select(0, counted).unsqueeze(-1)).squeeze(-1).neg(), weights);
        var inverse = Scalars.From(1 / temperature);
        var expected = Teach(batch, counted).mul(inverse).log_softmax(-1);
        var found = temperature == 1 ? logarithms : logits.mul(inverse).log_softmax(-1);
        var divergence = Mean((expected.exp() * (expected - found)).sum(-1), weights);
        var total = divergence.mul(Scalars.From(share * temperature * temperature)).add(crossEntropy.mul(Scalars.From(1 - share)), Scalars.One);
        foreach (var loss in context.AuxiliaryLosses) total = total.add(loss, Scalars.One);
        return new ModelLoss(total.MoveToOuterDisposeScope(), crossEntropy.MoveToOuterDisposeScope());
    }

    void Check(HybridLanguageModel model)
    {
        if (teacher.VocabularySize != model.VocabularySize)
            throw Require.Unfit("teacher", $"teacher has a vocabulary size of {teacher.VocabularySize}",
                $"{model.VocabularySize}, that of the model");
        if (teacher.Device.type != model.Device.type)
            throw Require.Unfit("teacher", $"teacher is on {teacher.Device}", $"{model.Device}, the device of the model");
        if (model.Design.HeadZLoss > 0)
            throw new NotSupportedException($"the design has a z-loss of the head of {model.Design.HeadZLoss}; expected 0 for distillation.");
    }

    Tensor Teach(TokenBatch batch, Tensor counted)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        bool wasTraining = teacher.training;
        if (wasTraining) teacher.eval();
        try
        {
            using var context = new SequenceContext(batch.Layout);
            return teacher.Logits(Counted(teacher, batch.Ids, context, counted)).MoveToOuterDisposeScope();
        }
        finally
        {
            if (wasTraining) teacher.train();
        }
    }

    // the hidden vectors of the targets that count, (targets, width)
    static Tensor Counted(HybridLanguageModel model, Tensor ids, SequenceContext context, Tensor counted) =>
        model.Hidden(ids, context).reshape(-1, model.Design.Width).index_select(0, counted);

    static Tensor Mean(Tensor values, Tensor? weights) => weights is null ? values.mean() : (values * weights).sum() / weights.sum();
}
