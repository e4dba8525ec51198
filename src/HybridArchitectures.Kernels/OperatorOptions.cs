using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the options of all operators: which back ends they use, and where they spend memory to save time.</summary>
/// <remarks>
/// <see cref="Use"/> sets options for a scope. They apply to the thread that calls it, and to the tasks, threads and asynchronous methods that are
/// started within the scope. They also apply to the gradients of the operators that are called within the scope, even if the backward pass runs later
/// or on a thread of libtorch. Other threads do not see them.
/// </remarks>
/// <example>
/// <code>
/// using var scope = NewDisposeScope();
/// Tensor x = randn(2, 8, 32);
/// using (OperatorOptions.Use(new() { RmsNormBackend = KernelBackend.Reference }))
///     Console.WriteLine(RmsNorm.BackendFor(x));                                       // Reference
/// Console.WriteLine(RmsNorm.BackendFor(x));                                           // Cpu
/// </code>
/// </example>
public sealed record OperatorOptions
{
    static readonly OperatorOptions Default = new();
    static readonly AsyncLocal<OperatorOptions?> Scoped = new();

    /// <summary>Gets the options that apply to the current thread.</summary>
    public static OperatorOptions Current => Scoped.Value ?? Default;

    /// <summary>
    /// Gets or sets the back end of the operators without a separate back end. The default is <see cref="KernelBackend.Auto"/>. An operator that does
    /// not support it throws an exception.
    /// </summary>
    public KernelBackend Backend { get; init => field = Require.Defined(value, nameof(Backend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.AttentionDecode"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? AttentionDecodeBackend { get; init => field = Require.Defined(value, nameof(AttentionDecodeBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.BranchFusion"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? BranchFusionBackend { get; init => field = Require.Defined(value, nameof(BranchFusionBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.CausalConvolution"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? CausalConvolutionBackend { get; init => field = Require.Defined(value, nameof(CausalConvolutionBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.FewRowsLinear"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? FewRowsLinearBackend { get; init => field = Require.Defined(value, nameof(FewRowsLinearBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.ChannelDeltaRule"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? ChannelDeltaRuleBackend { get; init => field = Require.Defined(value, nameof(ChannelDeltaRuleBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.FusedAttention"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? FusedAttentionBackend { get; init => field = Require.Defined(value, nameof(FusedAttentionBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.GatedDeltaRule"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? GatedDeltaRuleBackend { get; init => field = Require.Defined(value, nameof(GatedDeltaRuleBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.GatedRmsNorm"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? GatedRmsNormBackend { get; init => field = Require.Defined(value, nameof(GatedRmsNormBackend)); }

    /// <summary>
    /// Gets or sets the back end of <see cref="Operators.GeneralizedDeltaRule"/>. The default, null, means <see cref="Backend"/>.
    /// </summary>
    public KernelBackend? GeneralizedDeltaRuleBackend { get; init => field = Require.Defined(value, nameof(GeneralizedDeltaRuleBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.GroupedLinear"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? GroupedLinearBackend { get; init => field = Require.Defined(value, nameof(GroupedLinearBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.LinearCrossEntropy"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? LinearCrossEntropyBackend { get; init => field = Require.Defined(value, nameof(LinearCrossEntropyBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.LinearAttention"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? LinearAttentionBackend { get; init => field = Require.Defined(value, nameof(LinearAttentionBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.LinearRecurrence"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? LinearRecurrenceBackend { get; init => field = Require.Defined(value, nameof(LinearRecurrenceBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.RmsNorm"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? RmsNormBackend { get; init => field = Require.Defined(value, nameof(RmsNormBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.Rotary"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? RotaryBackend { get; init => field = Require.Defined(value, nameof(RotaryBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.SelectedLinear"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? SelectedLinearBackend { get; init => field = Require.Defined(value, nameof(SelectedLinearBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.SelectiveScan"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? SelectiveScanBackend { get; init => field = Require.Defined(value, nameof(SelectiveScanBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.StateSpaceDual"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? StateSpaceDualBackend { get; init => field = Require.Defined(value, nameof(StateSpaceDualBackend)); }

    /// <summary>Gets or sets the back end of <see cref="Operators.SwiGlu"/>. The default, null, means <see cref="Backend"/>.</summary>
    public KernelBackend? SwiGluBackend { get; init => field = Require.Defined(value, nameof(SwiGluBackend)); }

    /// <summary>
    /// Gets or sets whether <see cref="Operators.StateSpaceDual"/> on CUDA saves the states between chunks when it records gradients, so that the
    /// backward pass does not compute them again. They need N / 64 times the memory of x; more than 2 GB are never saved. The default is true.
    /// </summary>
    public bool SaveChunkStates { get; init; } = true;

    /// <summary>
    /// Gets or sets whether the backward pass computes inputs of operators again that one pass over memory yields, instead of saving them: the
    /// output of SwiGLU and of a gated norm before a projection, the output of a norm before projections of bfloat16 activations, the output of
    /// the convolution of Mamba-2, and the float32 input of a router of bfloat16 activations. Results are the same to the bit. The default is true.
    /// </summary>
    public bool RecomputeInputs { get; init; } = true;

    /// <summary>
    /// Gets or sets the maximum share of the logits that <see cref="Operators.LinearCrossEntropy"/> stores at a time on a GPU, in (0, 1]. The default
    /// is 1/8. With gradients, the tokens are divided into chunks, and the gradient of the weight is read and written once per chunk: a larger share
    /// is faster and needs more memory. A small number of logits is always stored completely.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is outside (0, 1].</exception>
    public double LogitsShare
    {
        get;
        init => field = value is > 0 and <= 1
            ? value
            : throw Require.OutOfRange(nameof(LogitsShare), value, "a number in (0, 1]");
    } = 1.0 / 8;

    /// <summary>Gets or sets the sizes at which launch configurations change.</summary>
    internal LaunchThresholds Thresholds { get; init; } = new();

    /// <summary>
    /// Gets or sets the function that allocates the memory to which CUDA kernels write. The default, null, means libtorch's allocator.
    /// </summary>
    internal Func<long[], ScalarType, Device, Tensor>? Allocator { get; init; }

    /// <summary>
    /// Gets or sets the number with which the CPU back ends fill working memory and results before they write to them. The default, null, leaves new
    /// memory as it is.
    /// </summary>
    internal float? NewMemoryFill { get; init; }

    /// <summary>
    /// Gets or sets the collection that keeps gradients of weights in the type in which products write them. The default, null, means that libtorch
    /// accumulates all gradients in the type of their weights.
    /// </summary>
    internal GradientCollection? Gradients { get; init; }

    /// <summary>Sets the options of the current thread until the returned scope is disposed, which restores the previous options.</summary>
    /// <param name="options">The options. To change some of the current options, use <c>OperatorOptions.Current with { ... }</c>.</param>
    /// <returns>The scope. Dispose nested scopes in reverse order.</returns>
    public static IDisposable Use(OperatorOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        var scope = new Scope(Scoped.Value);
        Scoped.Value = options;
        return scope;
    }

    /// <summary>Returns the selected back end of an operator.</summary>
    internal static KernelBackend BackendOf(Func<OperatorOptions, KernelBackend?> own)
    {
        var options = Current;
        return own(options) ?? options.Backend;
    }

    sealed class Scope(OperatorOptions? before) : IDisposable
    {
        public void Dispose() => Scoped.Value = before;
    }
}
