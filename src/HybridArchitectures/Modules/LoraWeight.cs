using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Implements the adapter of one weight W of shape (outputs, inputs) or (experts, outputs, inputs). It adds scale up(down(dropout(x))) to W x. The
/// matrix up starts at 0.
/// </summary>
sealed class LoraWeight : HybridModule
{
    readonly double scale;

    public LoraWeight(long[] weight, Device device, LoraSize size, double dropout, Generator generator) : base("low-rank adapter")
    {
        (Size, scale) = (size, size.Scale);
        Dropout = new LoraDropout(dropout);
        using var scope = NewDisposeScope();
        // as for the parameters of a model (ModuleFactory)
        using var ordinary = inference_mode(false);
        using var noGrad = no_grad();
        long[] experts = weight[..^2];
        double bound = 1 / Math.Sqrt(weight[^1]);
        AddParameter("down", Make(empty([.. experts, size.Rank, weight[^1]], float32).uniform_(-bound, bound, generator).to(device)), decays: true);
        AddParameter("up", Make(zeros([.. experts, weight[^2], size.Rank], float32, device)), decays: true);
    }

    static Parameter Make(Tensor values)
    {
        var parameter = new Parameter(values, requires_grad: true);
        parameter.DetachFromDisposeScope();
        return parameter;
    }

    /// <summary>Gets rank and alpha.</summary>
    public LoraSize Size { get; }

    /// <summary>Gets whether the update is currently merged into the weight.</summary>
    public bool IsMerged { get; private set; }

    /// <summary>Gets the dropout of the inputs during training.</summary>
    public LoraDropout Dropout { get; }

    public Parameter Down => Parameter("down");

    public Parameter Up => Parameter("up");

    /// <summary>Maps (..., inputs) to (..., outputs).</summary>
    public Tensor Forward(Tensor x) =>
        nn.functional.linear(nn.functional.linear(Dropped(x), Down.to(x.dtype)), Up.to(x.dtype)).mul(Scalars.From(scale));

    /// <summary>Maps rows that are sorted by expert, as in <see cref="GroupedLinear"/>.</summary>
    public Tensor Forward(Tensor x, Tensor ends) =>
        GroupedLinear.Forward(GroupedLinear.Forward(Dropped(x), Down.to(x.dtype), ends), Up.to(x.dtype), ends).mul(Scalars.From(scale));

    /// <summary>Returns scale up down in the shape of the weight.</summary>
    public Tensor Update() => (Up.dim() == 3 ? Up.bmm(Down) : Up.mm(Down)).mul(Scalars.From(scale));

    /// <summary>Adds the update to the weight, or subtracts it.</summary>
    public void Merge(Tensor weight, bool merged)
    {
        if (merged == IsMerged) return;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        weight.add_(Update(), merged ? Scalars.One : Scalars.MinusOne);
        IsMerged = merged;
    }

    Tensor Dropped(Tensor x) => training && Dropout.IsActive ? Dropout.Apply(x) : x;
}
