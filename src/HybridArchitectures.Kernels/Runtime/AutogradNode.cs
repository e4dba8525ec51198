using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Represents one recorded operator in the graph of libtorch, using the C exports on which TorchSharp's function classes are built.
/// </summary>
sealed unsafe class AutogradNode
{
    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    delegate NativeTensors ApplyCallback(nint* gradients, int count);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    delegate void DeletedCallback();

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    delegate nint AllocateCallback(nint count);

    static readonly HashSet<AutogradNode> Alive = [];       // keeps the callbacks alive until libtorch deletes the node
    static ExceptionDispatchInfo? lastError;                // from a thread of libtorch (CUDA)
    [ThreadStatic] static ExceptionDispatchInfo? error;     // from this thread (CPU)
    [ThreadStatic] static List<nint>? pending; // gradients last returned on this thread; native code has copied them before the next callback

    readonly ApplyCallback apply;
    readonly DeletedCallback deleted;
    readonly Func<BackwardContext, Tensor?[]> backward;
    readonly ExecutionContext? caller = ExecutionContext.Capture();     // of the forward call, whose options apply to its gradient
    readonly bool[] needs, leaves;                          // per input: whether its gradient is needed, and whether it is such a leaf
    readonly int[] edges;                                   // which inputs are given, because absent ones have no edge
    readonly nint* slots;                                   // the handles of the returned gradients
    NativeNode handle;
    nint[]? saved;

    /// <summary>Gets the nodes that libtorch keeps. Tests use them to find leaks and to inspect the saved tensors.</summary>
    internal static AutogradNode[] Nodes
    {
        get { lock (Alive) return [.. Alive]; }
    }

    /// <summary>Returns the size in bytes of the tensors saved for the gradient.</summary>
    internal long SavedBytes()
    {
        using var scope = NewDisposeScope();
        long bytes = 0;
        foreach (var item in saved ?? [])
        {
            if (item == 0) continue;
            var tensor = Unpack(item);
            bytes += tensor.NumberOfElements * tensor.ElementSize;
        }
        return bytes;
    }

    AutogradNode(Func<BackwardContext, Tensor?[]> backward, bool[] needs, bool[] leaves, int[] edges)
    {
        this.backward = backward;
        this.needs = needs;
        this.leaves = leaves;
        this.edges = edges;
        slots = (nint*)NativeMemory.AllocZeroed((nuint)Math.Max(1, edges.Length), (nuint)sizeof(nint));
        apply = OnApply;
        deleted = OnDeleted;
        handle = LibTorchSharp.THSAutograd_CSharpNode_ctor(
            Marshal.GetFunctionPointerForDelegate(apply), Marshal.GetFunctionPointerForDelegate(deleted));
        lock (Alive) Alive.Add(this);
    }

    public static Tensor[] Record(
        IReadOnlyList<Tensor?> inputs, bool[] needs, ForwardContext context, Func<ForwardContext, Tensor[]> forward,
        Func<BackwardContext, Tensor?[]> backward)
    {
        var edges = Enumerable.Range(0, inputs.Count).Where(i => inputs[i] is not null).ToArray();
        nint[] wrapped;
        using (NewDisposeScope())
        {
            Tensor[] outputs;
            using (no_grad()) outputs = forward(context);
            CheckOutputs(outputs, inputs);
            var node = new AutogradNode(backward, needs,
                Array.ConvertAll([.. Enumerable.Range(0, needs.Length)], i => needs[i] && inputs[i]!.is_leaf), edges);
            try
            {
                var sources = Array.ConvertAll(edges, i => node.leaves[i] ? Behind(inputs[i]!) : inputs[i]!);
                wrapped = node.Wrap(Array.ConvertAll(sources, source => source.Handle), outputs, context.Saved);
                GC.KeepAlive(sources);
            }
            finally
            {
                node.Release();
            }
            GC.KeepAlive(inputs);
            GC.KeepAlive(outputs);
        }
        return Array.ConvertAll(wrapped, Tensor.UnsafeCreateTensor);
    }

    // libtorch ends the process at an output that is a leaf with a gradient, and would change the history of an input
    static void CheckOutputs(Tensor[] outputs, IReadOnlyList<Tensor?> inputs)
    {
        CheckPresent(outputs);
        for (int i = 0; i < outputs.Length; i++)
        {
            bool isInput = false, isOutput = false;             // by reference: Equals of a tensor compares its values
            for (int j = 0; j < inputs.Count; j++) isInput |= ReferenceEquals(inputs[j], outputs[i]);
            for (int j = 0; j < i; j++) isOutput |= ReferenceEquals(outputs[j], outputs[i]);
            if (isInput || isOutput || outputs[i].requires_grad)
                throw new InvalidOperationException(
                    $"output {i} of an operator is an input, another output or a tensor that requires a gradient; expected a new tensor");
        }
    }

    /// <summary>Refuses outputs that do not exist.</summary>
    internal static void CheckPresent(Tensor[]? outputs)
    {
        if (outputs is not { Length: > 0 })
            throw new InvalidOperationException($"an operator returned {(outputs is null ? "null" : "no output")}; expected at least 1 output");
        for (int i = 0; i < outputs.Length; i++)
        {
            if (outputs[i] is null || outputs[i].IsInvalid)
                throw new InvalidOperationException($"output {i} of an operator is {(outputs[i] is null ? "null" : "disposed")}; expected a tensor");
        }
    }

    // libtorch uses an incoming tensor as the gradient of a leaf without a copy only if nothing else refers to it. Here the handle in `pending` still
    // does. The backward function of a view passes on a separate tensor over the same memory. OnApply ensures that nothing else uses this memory.
    static Tensor Behind(Tensor leaf) => leaf.view(leaf.shape);

    nint[] Wrap(nint[] inputHandles, Tensor[] outputs, Tensor?[] toSave)
    {
        var outputHandles = outputs.Select(output => output.Handle).ToArray();
        var wrapped = new nint[outputs.Length];
        fixed (nint* inputPointer = inputHandles, outputPointer = outputHandles, wrappedPointer = wrapped)
        {
            var inputs = new NativeTensors { Data = inputPointer, Count = inputHandles.Length };
            LibTorchSharp.THSAutograd_CSharpNode_setNextEdges(handle, inputs, true);
            LibTorchSharp.THSAutograd_CSharpNode_clearInputMetadata(handle);
            nint target = (nint)wrappedPointer;
            AllocateCallback allocate = _ => target;
            LibTorchSharp.THSAutograd_Function_wrapOutputs(
                inputs, default, default, new NativeTensors { Data = outputPointer, Count = outputHandles.Length }, handle,
                Marshal.GetFunctionPointerForDelegate(allocate));
            GC.KeepAlive(allocate);
        }
        CheckForNativeError();
        if (wrapped.Contains(0)) throw new InvalidOperationException("libtorch did not record the operator's outputs");
        saved = Array.ConvertAll(toSave, tensor =>
        {
            if (tensor is null) return 0;
            int output = Array.FindIndex(outputs, candidate => ReferenceEquals(candidate, tensor));
            var result = LibTorchSharp.THSAutograd_SavedVariable_ctor(output < 0 ? tensor.Handle : wrapped[output], handle, false);
            GC.KeepAlive(tensor);
            return result;
        });
        return wrapped;
    }

    // from here on, only the outputs keep the node alive
    void Release()
    {
        var owner = handle;
        handle.Shared = 0;
        LibTorchSharp.THSAutograd_CSharpNode_disposeSharedPtr(owner);
    }

    NativeTensors OnApply(nint* gradients, int count)
    {
        new Span<nint>(slots, edges.Length).Clear();
        try
        {
            ReleasePending();
            using var scope = NewDisposeScope();
            var incoming = new Tensor?[count];
            for (int i = 0; i < count; i++) incoming[i] = gradients[i] == 0 ? null : Tensor.UnsafeCreateTensor(gradients[i]);
            if (Array.TrueForAll(incoming, gradient => gradient is null)) return WithoutGradients();
            if (is_grad_enabled())
                throw new NotSupportedException("this operator has first derivatives only; expected a backward pass without create_graph");
            var kept = saved ?? throw new InvalidOperationException(
                "the saved tensors were released by an earlier backward pass; keep them with retainGraph");
            var unpacked = Array.ConvertAll(kept, item => item == 0 ? null : Unpack(item));
            // before the gradient function, which may dispose its arguments
            var taken = new HashSet<nint>(incoming.Concat(unpacked).OfType<Tensor>().Select(TensorMemory.Storage));
            var results = RunBackward(new BackwardContext(incoming, unpacked, needs));
            if (results?.Length != needs.Length)
                throw new InvalidOperationException(
                    $"a gradient function returned {(results is null ? "null" : $"{results.Length} gradients")}; "
                    + $"expected {needs.Length}, one per input");
            PassOn(results, taken, scope);
            if (!LibTorch.CurrentBackwardKeepsGraph()) ReleaseSaved();      // otherwise memory is kept until the node is deleted
            return new NativeTensors { Data = slots, Count = edges.Length };
        }
        catch (Exception e)
        {
            error = ExceptionDispatchInfo.Capture(e);
            Volatile.Write(ref lastError, error);
            return new NativeTensors { Data = slots, Count = 0 };           // a wrong number of gradients: libtorch ends this backward pass
        }
    }

    // passes a separate alias of each gradient to libtorch, so that a gradient returned for two inputs, or one that is passed through, stays valid
    // for both; a leaf keeps the memory
    void PassOn(Tensor?[] results, HashSet<nint> taken, DisposeScope scope)
    {
        pending ??= [];
        for (int i = 0; i < edges.Length; i++)
        {
            if (!needs[edges[i]] || results[edges[i]] is not { } result) continue;
            bool fresh = scope.Contains(result) && taken.Add(TensorMemory.Storage(result));
            using var alias = fresh || !leaves[edges[i]] ? result.alias() : result.clone();
            pending.Add(slots[i] = alias.DetachFromDisposeScope().DecoupleFromNativeHandle());
        }
    }

    Tensor?[] RunBackward(BackwardContext arguments)
    {
        if (caller is null) return backward(arguments);
        Tensor?[] results = [];
        ExecutionContext.Run(caller, _ => results = backward(arguments), null);
        return results;
    }

    // the gradient function of a later operator returned only nulls: there is nothing to pass on
    NativeTensors WithoutGradients()
    {
        if (!LibTorch.CurrentBackwardKeepsGraph()) ReleaseSaved();
        return new NativeTensors { Data = slots, Count = edges.Length };
    }

    Tensor Unpack(nint item)
    {
        var tensor = LibTorchSharp.THSAutograd_SavedVariable_unpack(item, handle);
        if (tensor != 0) return Tensor.UnsafeCreateTensor(tensor);
        CheckForNativeError();
        throw new InvalidOperationException("a tensor saved for the gradient was changed in place; expected an unchanged tensor");
    }

    void OnDeleted()
    {
        lock (Alive) Alive.Remove(this);
        ReleaseSaved();
        LibTorchSharp.THSAutograd_CSharpNode_disposeWeakPtr(handle);
        NativeMemory.Free(slots);
    }

    void ReleaseSaved()
    {
        if (saved is null) return;
        foreach (var item in saved)
            if (item != 0) LibTorchSharp.THSAutograd_SavedVariable_dispose(item);
        saved = null;
    }

    internal static void ReleasePending()
    {
        if (pending is not { Count: > 0 }) return;
        foreach (var tensor in pending) LibTorchSharp.THSTensor_dispose(tensor);
        pending.Clear();
    }

    internal static void ClearError()
    {
        error = null;
        Volatile.Write(ref lastError, null);
    }

    internal static ExceptionDispatchInfo? TakeError()
    {
        var taken = error ?? Volatile.Read(ref lastError);
        ClearError();
        return taken;
    }

    // TorchSharp stores the text of the last native error; its check throws and clears it
    static void CheckForNativeError() => CheckForErrors();
}
