using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Calls any operator that is registered with libtorch by its schema name, including its gradients, and including those for which TorchSharp has no
/// method.
/// </summary>
public static unsafe class TorchOperator
{
    // the stack must have room for the larger of arguments and results; zeroed slots are None for options that newer schemas append
    const int StackSize = 32;
    static ulong abiVersion;

    /// <summary>Calls an operator with one tensor as its result.</summary>
    /// <param name="name">The schema name, such as <c>aten::scaled_dot_product_attention</c>.</param>
    /// <param name="overload">The overload, such as <c>tensor_lr</c>; empty for the default overload.</param>
    /// <param name="arguments">All arguments in the order of the schema.</param>
    /// <exception cref="InvalidOperationException">libtorch refused the call. It has printed the reason to the error stream.</exception>
    public static Tensor Call(string name, string overload, params ReadOnlySpan<OperatorArgument> arguments) =>
        CallMany(name, overload, 1, arguments)[0];

    /// <summary>Calls an operator with one integer as its result.</summary>
    /// <inheritdoc cref="Call"/>
    public static long CallInteger(string name, string overload, params ReadOnlySpan<OperatorArgument> arguments)
    {
        ulong* stack = stackalloc ulong[StackSize];
        Run(name, overload, 1, arguments, stack);
        return (long)stack[0];
    }

    /// <summary>Calls an operator with <paramref name="results"/> tensors as its result (0 for one that works in place).</summary>
    /// <inheritdoc cref="Call"/>
    public static Tensor[] CallMany(string name, string overload, int results, params ReadOnlySpan<OperatorArgument> arguments)
    {
        ulong* stack = stackalloc ulong[StackSize];
        Run(name, overload, results, arguments, stack);
        var tensors = new Tensor[results];
        for (int i = 0; i < results; i++) tensors[i] = Tensor.UnsafeCreateTensor((nint)stack[i]);
        return tensors;
    }

    // leaves the results at the beginning of the stack
    static void Run(string name, string overload, int results, ReadOnlySpan<OperatorArgument> arguments, ulong* stack)
    {
        Require.NotEmpty(name);
        ArgumentNullException.ThrowIfNull(overload);
        if (arguments.Length > StackSize || results > StackSize)
            throw Require.Unfit(nameof(arguments), $"{arguments.Length} arguments and {results} results", $"at most {StackSize} each");
        TorchLibrary.EnsureLoaded();
        if (abiVersion == 0) abiVersion = LibTorch.aoti_torch_abi_version();
        new Span<ulong>(stack, StackSize).Clear();
        for (int i = 0; i < arguments.Length; i++) stack[i] = arguments[i].ToSlot();
        int code = LibTorch.torch_call_dispatcher(name, overload, stack, abiVersion);
        foreach (var argument in arguments) argument.KeepAlive();
        if (code != 0)
            throw new InvalidOperationException(
                $"libtorch refused {name}{(overload.Length > 0 ? "." + overload : "")} (the error stream has the reason); arguments: "
                + $"{Describe(arguments)}");
    }

    static string Describe(ReadOnlySpan<OperatorArgument> arguments)
    {
        var texts = new string[arguments.Length];
        for (int i = 0; i < texts.Length; i++) texts[i] = arguments[i].ToString();
        return string.Join(", ", texts);
    }
}
