using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>Maps one tensor of a file to the tensors of the model that it contains, concatenated along a dimension.</summary>
/// <param name="File">The name in the file.</param>
/// <param name="Parts">The tensors of the model.</param>
/// <param name="Dimension">The dimension of the concatenation. The default is 0.</param>
/// <param name="IsFilter">Whether the file stores the (channels, width) of a convolution as (channels, 1, width). The default is false.</param>
/// <param name="Stored">
/// The shape in the file of a tensor with the same elements in the same order. The default, null, means the shape of the parts.
/// </param>
sealed record TensorRule(string File, IReadOnlyList<TensorPart> Parts, int Dimension = 0, bool IsFilter = false, long[]? Stored = null)
{
    readonly Func<Tensor>? compute;
    readonly Func<Tensor, IReadOnlyList<Tensor>>? read;
    readonly Func<IReadOnlyList<Tensor>, Tensor>? write;

    /// <summary>
    /// Returns the rule of a tensor that follows from the configuration. It is written, and it need not be in a file that is read.
    /// </summary>
    public static TensorRule Computed(string file, long[] shape, Func<Tensor> compute) => new(file, [], Stored: shape, compute);

    /// <summary>Returns the rule of a tensor whose numbers are functions of those of the model.</summary>
    /// <param name="file">The name in the file.</param>
    /// <param name="shape">The shape in the file.</param>
    /// <param name="parts">The tensors of the model.</param>
    /// <param name="read">Returns the values of the parts.</param>
    /// <param name="write">Returns the tensor of the file.</param>
    public static TensorRule Mapped(string file, long[] shape, IReadOnlyList<TensorPart> parts, Func<Tensor, IReadOnlyList<Tensor>> read,
        Func<IReadOnlyList<Tensor>, Tensor> write) => new(file, parts, shape, read, write);

    TensorRule(string file, IReadOnlyList<TensorPart> parts, long[] Stored, Func<Tensor, IReadOnlyList<Tensor>> read,
        Func<IReadOnlyList<Tensor>, Tensor> write) : this(file, parts, Stored: Stored) => (this.read, this.write) = (read, write);

    TensorRule(string file, IReadOnlyList<TensorPart> parts, long[] Stored, Func<Tensor> compute) : this(file, parts, Stored: Stored) =>
        this.compute = compute;

    /// <summary>Gets whether the tensor follows from the configuration.</summary>
    public bool IsComputed => compute is not null;

    /// <summary>Gets whether the numbers in the file are functions of those of the model.</summary>
    public bool IsMapped => read is not null;

    /// <summary>Returns the gradient of a mapped tensor of a file from the gradients of the model, in the current dispose scope.</summary>
    public Tensor Gradient(Tensor stored, IReadOnlyDictionary<string, Tensor> gradients)
    {
        using var scope = NewDisposeScope();
        // the file is read on the CPU
        var leaf = stored.detach().to(Parts[0].Select(gradients).device, copy: true).requires_grad_();
        var products = read!(leaf).Zip(Parts, (values, part) => (values * part.Select(gradients)).sum()).ToArray();
        Autograd.Backward(stack(products).sum());
        return leaf.grad!.MoveToOuterDisposeScope();
    }

    /// <summary>Returns the shape that the file must have.</summary>
    public long[] Shape(IReadOnlyDictionary<string, Tensor> state)
    {
        if (Stored is not null) return Stored;
        using var scope = NewDisposeScope();
        var shapes = Parts.Select(part => part.Shape(state)).ToArray();
        var shape = (long[])shapes[0].Clone();
        for (int i = 1; i < shapes.Length; i++) shape[Dimension] += shapes[i][Dimension];
        return IsFilter ? [shape[0], 1, .. shape[1..]] : shape;
    }

    /// <summary>
    /// Reads from the file directly into the model, if its numbers have the same order there. Otherwise, does nothing and returns false.
    /// </summary>
    public bool TryFill(SafetensorsFile file, string name, IReadOnlyDictionary<string, Tensor> state)
    {
        if (IsComputed) return true;
        if (read is not null) return false;
        if ((Dimension != 0 && Parts.Count > 1) || Parts.Any(part => part.Rows is { Groups: > 1 })) return false;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        return file.TryReadSpans(name, [.. Parts.Select(part => part.Select(state))]);
    }

    /// <summary>Copies a tensor of a file into the model.</summary>
    public void Fill(Tensor stored, IReadOnlyDictionary<string, Tensor> state)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (read is not null)
        {
            foreach (var (part, values) in Parts.Zip(read(stored))) part.Select(state).copy_(values);
            return;
        }
        if (IsFilter) stored = stored.squeeze(1);
        long start = 0;
        foreach (var part in Parts)
        {
            var target = part.Select(state);
            var shape = part.Shape(state);
            var piece = Parts.Count == 1 ? stored : stored.narrow(Dimension, start, shape[Dimension]);
            target.copy_(piece.reshape(target.shape));
            start += shape.Length == 0 ? 0 : shape[Dimension];
        }
    }

    /// <summary>Returns the tensor for a file, in the current dispose scope.</summary>
    public Tensor Gather(IReadOnlyDictionary<string, Tensor> state)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (compute is not null) return compute().MoveToOuterDisposeScope();
        var parts = Parts.Select(part => part.Join(state).detach()).ToArray();
        if (write is not null) return write(parts).MoveToOuterDisposeScope();
        var whole = parts.Length == 1 ? parts[0].alias() : cat(parts, Dimension);
        if (Stored is not null) whole = whole.reshape(Stored);
        return (IsFilter ? whole.unsqueeze(1) : whole).MoveToOuterDisposeScope();
    }
}
