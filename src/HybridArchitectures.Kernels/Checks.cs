using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Checks the arguments of operators. The exceptions contain the argument, its value, and what was expected.</summary>
static class Checks
{
    public static string Describe(Tensor tensor) => $"({string.Join(", ", tensor.shape)})";

    /// <summary>Checks that a tensor has the shape <paramref name="sizes"/>. -1 means any size.</summary>
    public static void Shape(Tensor tensor, ReadOnlySpan<long> sizes, string meaning, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        Require.Alive(tensor, name);
        bool fits = tensor.dim() == sizes.Length;
        for (int i = 0; fits && i < sizes.Length; i++) fits = sizes[i] < 0 || tensor.size(i) == sizes[i];
        if (fits) return;
        var expected = new string[sizes.Length];
        for (int i = 0; i < expected.Length; i++) expected[i] = sizes[i] < 0 ? "*" : $"{sizes[i]}";
        throw Require.Unfit(name, $"{name} has shape {Describe(tensor)}", $"({string.Join(", ", expected)}), which is {meaning}");
    }

    public static void SameShape(Tensor tensor, Tensor other, string otherName, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        Require.Alive(tensor, name);
        bool fits = tensor.dim() == other.dim();
        for (int i = 0; fits && i < tensor.dim(); i++) fits = tensor.size(i) == other.size(i);
        if (!fits) throw Require.Unfit(name, $"{name} has shape {Describe(tensor)}", $"that of {otherName}, {Describe(other)}");
    }

    /// <summary>Checks that a tensor is float32, bfloat16, float16 or float64.</summary>
    public static void Floating(Tensor tensor, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        Require.Alive(tensor, name);
        if (tensor.dtype is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16 or ScalarType.Float64))
            throw Require.Refusal(name, tensor.dtype, "a floating-point tensor");
    }

    public static void Type(Tensor tensor, ScalarType type, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        Require.Alive(tensor, name);
        if (tensor.dtype != type) throw Require.Refusal(name, tensor.dtype, $"{type}");
    }

    /// <summary>Checks that a parameter has the dtype of the activations or float32 (or wider, for float64 activations).</summary>
    public static void ParameterType(
        Tensor parameter, Tensor activations, string activationsName, [CallerArgumentExpression(nameof(parameter))] string name = "")
    {
        if (parameter.dtype != activations.dtype && parameter.dtype != ScalarType.Float32)
            throw Require.Refusal(name, parameter.dtype, $"Float32 or {activations.dtype}, the type of {activationsName}");
    }

    public static void SameDevice(Tensor tensor, Tensor other, string otherName, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (tensor.device_type != other.device_type || tensor.device_index != other.device_index)
            throw Require.Unfit(name, $"{name} is on {tensor.device}", $"{other.device}, the device of {otherName}");
    }

    /// <summary>Checks sizes, heads, dtypes and devices of keys and values, shapes (batch, tokens, heads, size), against those of queries.</summary>
    public static void Heads(Tensor query, (Tensor Tensor, string Name) keys, (Tensor Tensor, string Name) values)
    {
        if (query.size(3) == 0) throw Require.Unfit("query", $"query has shape {Describe(query)}", "a head size of at least 1");
        if (values.Tensor.size(3) == 0)
            throw Require.Unfit(values.Name, $"{values.Name} has shape {Describe(values.Tensor)}", "a value size of at least 1");
        long heads = query.size(2), keyHeads = keys.Tensor.size(2);
        if (keyHeads == 0 || heads == 0 || heads % keyHeads != 0)
            throw Require.Unfit(keys.Name, $"{keys.Name} has {keyHeads} heads", $"a divisor of the {heads} heads of query");
        foreach (var (tensor, name) in new[] { keys, values })
        {
            Type(tensor, query.dtype, name);
            SameDevice(tensor, query, "query", name);
        }
    }

    /// <summary>Checks the sink logits of attention heads.</summary>
    public static void SinkLogits(Tensor sinkLogits, Tensor query)
    {
        Floating(sinkLogits, "sinkLogits");
        Shape(sinkLogits, [query.size(2)], "one logit per head of query", "sinkLogits");
        SameDevice(sinkLogits, query, "query", "sinkLogits");
    }

    public static void Groups(Tensor x, int groups, [CallerArgumentExpression(nameof(x))] string name = "")
    {
        Require.Alive(x, name);
        if (x.dim() == 0 || x.size(-1) == 0)
            throw Require.Unfit(name, $"{name} has shape {Describe(x)}", "a last dimension of at least 1");
        if (groups < 1 || x.size(-1) % groups != 0)
            throw Require.OutOfRange(nameof(groups), groups, $"a divisor of the last dimension of {name}, {x.size(-1)}");
    }
}
