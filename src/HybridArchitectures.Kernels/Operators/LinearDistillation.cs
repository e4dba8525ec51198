using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Computes the heads of a student and of a teacher, and the loss of distillation (arXiv 1503.02531), as one operator. It stores only a small part of
/// the logits of both models at a time.
/// </summary>
/// <remarks>
/// Tokens are processed in chunks of matrix products on any device, and gradients are computed in the forward pass. The gradient of the weight is
/// summed in float32. No gradient reaches the teacher. With <see cref="OperatorOptions.LinearCrossEntropyBackend"/> Reference, the operator is
/// <see cref="LinearDistillationReference"/>.
/// </remarks>
public static class LinearDistillation
{
    /// <summary>
    /// Computes the mean over tokens of (1 - share) * -log q[target] + share * T^2 * KL(p_T || q_T). q is the distribution of the student, and p_T
    /// and q_T are those of teacher and student at the temperature T: softmax(logits / T).
    /// </summary>
    /// <param name="hidden">The input of the student's head, shape (tokens, d), floating point.</param>
    /// <param name="weight">
    /// The weight of the student's head, shape (V, d), float32 or in the dtype of <paramref name="hidden"/>. Products are in the dtype of
    /// <paramref name="hidden"/>.
    /// </param>
    /// <param name="teacherHidden">The input of the teacher's head, shape (tokens, d of the teacher), floating point.</param>
    /// <param name="teacherWeight">
    /// The weight of the teacher's head, shape (V, d of the teacher), float32 or in the dtype of <paramref name="teacherHidden"/>.
    /// </param>
    /// <param name="targets">The targets, shape (tokens), int64, each in [0, V) or <paramref name="ignoreIndex"/>.</param>
    /// <param name="share">The share of the divergence in the loss, in [0, 1]. The default is 0.5.</param>
    /// <param name="temperature">The temperature T, above 0. The default is 1.</param>
    /// <param name="ignoreIndex">The target that marks a token that does not count. The default is -100.</param>
    /// <param name="logitScale">The multiplier of the student's logits. The default is 1.</param>
    /// <param name="teacherLogitScale">The multiplier of the teacher's logits. The default is 1.</param>
    /// <param name="tokenWeights">
    /// The weights of tokens in the mean, shape (tokens), float32 without a gradient, each finite and at least 0. The default, null, means equal
    /// weights.
    /// </param>
    /// <param name="logitCap">
    /// The bound c of the student's scaled logits, which become c tanh(logits / c), above 0. The default, null, means none.
    /// </param>
    /// <param name="teacherLogitCap">The bound of the teacher's scaled logits, above 0. The default, null, means none.</param>
    /// <returns>
    /// Two scalars, float32 (float64 for float64 input): the loss, and the mean cross entropy -log q[target] without a gradient. Both are 0 if no
    /// token counts.
    /// </returns>
    /// <exception cref="ArgumentException">A shape, dtype, device or number is invalid. The message names the argument.</exception>
    public static (Tensor Total, Tensor CrossEntropy) Forward(Tensor hidden, Tensor weight, Tensor teacherHidden, Tensor teacherWeight,
        Tensor targets, double share = 0.5, double temperature = 1, long ignoreIndex = -100, double logitScale = 1, double teacherLogitScale = 1,
        Tensor? tokenWeights = null, double? logitCap = null, double? teacherLogitCap = null)
    {
        CrossEntropyOptions Options(double scale, double? cap) => new(ignoreIndex, LabelSmoothing: 0, ZLoss: 0, scale) { LogitCap = cap };
        var inputs = new DistillationInputs(hidden, weight, teacherHidden, teacherWeight, targets)
        {
            Share = share, Temperature = temperature, StudentOptions = Options(logitScale, logitCap),
            TeacherOptions = Options(teacherLogitScale, teacherLogitCap), TokenWeights = tokenWeights,
        };
        inputs.Check();
        if (LinearCrossEntropy.BackendFor(hidden) == KernelBackend.Reference)
            return LinearDistillationReference.Forward(hidden, weight, teacherHidden, teacherWeight, targets, share, temperature, ignoreIndex,
                logitScale, teacherLogitScale, tokenWeights, logitCap, teacherLogitCap);
        bool grad = is_grad_enabled();
        var (needsHidden, needsWeight) = (grad && hidden.requires_grad, grad && weight.requires_grad);
        var results = Autograd.Apply<LossGradients>([hidden, weight], _ =>
        {
            var (total, crossEntropy, gradients) = ChunkedDistillation.Run(inputs, needsHidden, needsWeight);
            return ([total, crossEntropy], gradients);
        }, static (context, saved) => saved.Times(context.Gradients[0]!)[..2]);
        using var crossEntropy = results[1];
        return (results[0], crossEntropy.detach());
    }
}
