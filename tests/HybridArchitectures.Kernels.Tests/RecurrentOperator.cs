using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Describes an operator along a sequence that libtorch's operators compute in chunks, and a reference token by token.</summary>
public abstract class RecurrentOperator : SequenceOperator
{
    public override IReadOnlyList<string> Optional => ["initialState"];

    /// <summary>Gets the name of the input whose dtype the other inputs have.</summary>
    public virtual string Leading => "value";

    /// <summary>Gets the default number of tokens per chunk.</summary>
    public virtual int ChunkSize => 16;

    /// <summary>Returns options that select a back end of this operator alone.</summary>
    public abstract OperatorOptions Select(KernelBackend backend);

    public abstract (Tensor Output, Tensor Final) Forward(Tensors inputs, SequenceLayout? layout, int chunkSize);

    public abstract (Tensor Output, Tensor Final) Reference(Tensors inputs, SequenceLayout? layout);

    public sealed override (Tensor Output, Tensor Final) Forward(Tensors inputs, SequenceLayout? layout = null) => Forward(inputs, layout, ChunkSize);

    public sealed override (Tensor Output, Tensor Final) Composed(Tensors inputs, SequenceLayout? layout = null) => Forward(inputs, layout);
}
