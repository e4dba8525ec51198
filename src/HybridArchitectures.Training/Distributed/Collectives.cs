using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Exchanges tensors between the processes (ranks) that train one model together. Every rank calls the same methods in the same order with tensors of
/// the same shape and type.
/// </summary>
/// <remarks>
/// <para>
/// Tensors are contiguous, on <see cref="Device"/> or on the CPU, of type float32, float64, bfloat16 or int64 (uint8 where nothing is computed). On a
/// GPU, the work is queued on the current stream of libtorch, and nothing waits. On the CPU, the methods return when the tensors are complete.
/// Instances are not thread-safe.
/// </para>
/// <para>MPI has no bfloat16: such tensors are summed in float32 and rounded once. NCCL rounds after every addition.</para>
/// </remarks>
/// <example>
/// <code>
/// using var ranks = Collectives.Connect();                       // one process, unless a launcher such as mpirun started several
/// using var value = tensor(new[] { ranks.Rank + 1f });
/// ranks.AllReduce(value);
/// Console.WriteLine(value.item&lt;float&gt;());                    // 1 on one rank, 3 on two, 6 on three
/// </code>
/// </example>
public abstract class Collectives : IDisposable
{
    private protected Collectives(int rank, int size, int localRank, Device device) =>
        (Rank, Size, LocalRank, Device) = (rank, size, localRank, device);

    /// <summary>Gets the number of this process, from 0 to <see cref="Size"/> - 1.</summary>
    public int Rank { get; }

    /// <summary>Gets the number of processes.</summary>
    public int Size { get; }

    /// <summary>Gets the number of this process on its machine.</summary>
    public int LocalRank { get; }

    /// <summary>Gets the device of the tensors of this rank.</summary>
    public Device Device { get; }

    /// <summary>Gets whether this is rank 0, which reports and writes files.</summary>
    public bool IsFirst => Rank == 0;

    /// <summary>Gets the name and version of the library.</summary>
    public abstract string Library { get; }

    /// <summary>Gets the time after which a rank that waits for the others gives up.</summary>
    public virtual TimeSpan Timeout => System.Threading.Timeout.InfiniteTimeSpan;

    /// <summary>Gets whether the exchange of a tensor on the CPU does not wait for a GPU.</summary>
    internal virtual bool IsFastOnHost => true;

    /// <summary>Returns collectives of one process: every operation leaves the tensor of the only rank unchanged.</summary>
    /// <param name="device">The device. The default, null, means the CPU.</param>
    public static Collectives Single(Device? device = null)
    {
        Require.KnownDevice(device);
        return new SingleProcess(device ?? CPU);
    }

    /// <summary>Connects this process with the others that a launcher (mpirun, torchrun, srun) has started, and waits for them.</summary>
    /// <param name="options">The device and the time limits. The default, null, means the CPU and the default limits.</param>
    /// <returns>Collectives of one process if no launcher has started this one. The caller disposes them, after the training.</returns>
    /// <exception cref="CollectiveException">
    /// The library is missing, a rank is missing, the processes do not agree on their number, or a port is in use. The message says which.
    /// </exception>
    public static Collectives Connect(CollectiveOptions? options = null)
    {
        options ??= new();
        options.Check();
        var environment = RankEnvironment.Read();
        bool isAlone = environment is null || environment.Size == 1;
        environment ??= new("none", 0, 1, 0);
        if (isAlone && options.Engine == CollectiveEngine.Automatic)
            return Single(options.IsOnGpu ? TorchLibrary.Gpu(Math.Max(0, options.Device!.index)) : CPU);      // cuda without a number is -1
        return options.IsOnGpu ? NcclCollectives.Connect(environment, options) : MpiCollectives.Connect(environment, options);
    }

    /// <summary>Replaces a tensor by the combination of those of all ranks. The result is bit-identical on all ranks.</summary>
    /// <param name="tensor">The tensor, changed in place.</param>
    /// <param name="operation">How values are combined. The default is the sum.</param>
    public void AllReduce(Tensor tensor, ReduceOperation operation = ReduceOperation.Sum)
    {
        Require.Defined(operation);
        if (IsEmpty(tensor, computes: true)) return;
        using var noGrad = no_grad();
        AllReduceChecked(tensor, operation);
    }

    /// <summary>Replaces several tensors by the combination of those of all ranks, with fewer messages than one by one.</summary>
    /// <param name="tensors">The tensors, of one type, changed in place.</param>
    /// <param name="operation">How values are combined. The default is the sum.</param>
    public void AllReduce(IReadOnlyList<Tensor> tensors, ReduceOperation operation = ReduceOperation.Sum)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        Require.Defined(operation);
        var present = tensors.Where(tensor => !IsEmpty(tensor, computes: true)).ToArray();
        if (present.Length == 0) return;
        using var noGrad = no_grad();
        AllReduceChecked(present, operation);
    }

    /// <summary>Combines tensors of all ranks, and leaves an equal part of the result on each rank.</summary>
    /// <param name="output">The part of this rank, with 1 / <see cref="Size"/> of the elements of the input.</param>
    /// <param name="input">The tensor, whose elements in row-major order are the parts of rank 0, rank 1, and so on.</param>
    /// <param name="operation">How values are combined. The default is the sum.</param>
    public void ReduceScatter(Tensor output, Tensor input, ReduceOperation operation = ReduceOperation.Sum)
    {
        Require.Defined(operation);
        if (IsEmpty(output, computes: true, nameof(output)) | IsEmpty(input, computes: true, nameof(input))) return;
        RequireParts(output, nameof(output), input, nameof(input));
        using var noGrad = no_grad();
        ReduceScatterChecked(output, input, operation);
    }

    /// <summary>Collects the tensors of all ranks on every rank.</summary>
    /// <param name="output">Receives the tensor of rank 0, then that of rank 1, and so on, in row-major order.</param>
    /// <param name="input">The tensor of this rank, with 1 / <see cref="Size"/> of the elements of the output.</param>
    public void AllGather(Tensor output, Tensor input)
    {
        if (IsEmpty(output, computes: false, nameof(output)) | IsEmpty(input, computes: false, nameof(input))) return;
        RequireParts(input, nameof(input), output, nameof(output));
        using var noGrad = no_grad();
        AllGatherChecked(output, input);
    }

    /// <summary>Copies a tensor of one rank to all others.</summary>
    /// <param name="tensor">The tensor, read on the rank <paramref name="root"/> and overwritten on the others.</param>
    /// <param name="root">The rank whose tensor is copied. The default is 0.</param>
    public void Broadcast(Tensor tensor, int root = 0)
    {
        RequireRank(root);
        if (IsEmpty(tensor, computes: false)) return;
        using var noGrad = no_grad();
        BroadcastChecked(tensor, root);
    }

    /// <summary>Combines the tensors of all ranks on one rank. The tensor of the other ranks is undefined afterwards.</summary>
    /// <param name="tensor">The tensor, changed in place.</param>
    /// <param name="root">The rank that receives the result.</param>
    /// <param name="operation">How values are combined. The default is the sum.</param>
    public void Reduce(Tensor tensor, int root, ReduceOperation operation = ReduceOperation.Sum)
    {
        Require.Defined(operation);
        RequireRank(root);
        if (IsEmpty(tensor, computes: true)) return;
        using var noGrad = no_grad();
        ReduceChecked(tensor, root, operation);
    }

    /// <summary>Waits until every rank has called this method, and, on a GPU, until the queued work is complete.</summary>
    public abstract void Barrier();

    /// <summary>Runs several operations, which NCCL starts together. Their results are complete after the method.</summary>
    /// <param name="work">Calls methods of this object, and nothing that reads their results.</param>
    public virtual void Group(Action work)
    {
        ArgumentNullException.ThrowIfNull(work);
        work();
    }

    /// <summary>Divides the ranks into groups, and returns the collectives of the group of this rank. All ranks call it.</summary>
    /// <param name="group">The number of the group, at least 0. Ranks that pass the same number form a group.</param>
    /// <returns>
    /// Collectives of the ranks of the group, which have new numbers from 0 in the order of their numbers here. The caller disposes them before
    /// these.
    /// </returns>
    /// <exception cref="CollectiveException">The library cannot divide ranks, or another rank failed.</exception>
    public Collectives Split(int group)
    {
        Require.AtLeast(group, 0);
        return SplitChecked(group);
    }

    private protected abstract Collectives SplitChecked(int group);

    /// <summary>
    /// Starts several operations, and returns without waiting for the other ranks. On a GPU, they run on a separate stream after the work that is
    /// queued on the current one. All ranks start and wait in the same order.
    /// </summary>
    /// <param name="work">Calls methods of this object. The caller keeps their tensors alive, and unchanged, until the wait.</param>
    internal virtual StartedOperations Start(Action work)
    {
        work();
        return new(null);
    }

    /// <summary>Lets started operations advance, for libraries that do so only while they are called.</summary>
    internal virtual void Advance() { }

    /// <summary>Throws an exception if another rank is known to have failed.</summary>
    /// <exception cref="CollectiveException">Another rank failed or did not answer in time.</exception>
    public virtual void ThrowIfFailed() { }

    /// <summary>Ends the connection after a failure of this rank, without waiting for the others, so that they notice it.</summary>
    internal virtual void Abandon() { }

    private protected abstract void AllReduceChecked(Tensor tensor, ReduceOperation operation);

    private protected virtual void AllReduceChecked(Tensor[] tensors, ReduceOperation operation)
    {
        foreach (var tensor in tensors) AllReduceChecked(tensor, operation);
    }

    private protected abstract void ReduceScatterChecked(Tensor output, Tensor input, ReduceOperation operation);

    private protected abstract void AllGatherChecked(Tensor output, Tensor input);

    private protected abstract void BroadcastChecked(Tensor tensor, int root);

    private protected abstract void ReduceChecked(Tensor tensor, int root, ReduceOperation operation);

    bool IsEmpty(Tensor tensor, bool computes, string name = "tensor")
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        bool known = tensor.dtype is ScalarType.Float32 or ScalarType.Float64 or ScalarType.BFloat16 or ScalarType.Int64
            || (!computes && tensor.dtype == ScalarType.Byte);
        if (!known) throw Require.Refusal(name, tensor.dtype, $"Float32, Float64, BFloat16 or Int64{(computes ? "" : ", or Byte")}");
        if (!tensor.is_contiguous()) throw Require.Unfit(name, $"{name} is not contiguous", "a contiguous tensor");
        if (tensor.device_type != DeviceType.CPU && tensor.device.ToString() != Device.ToString())
            throw Require.Unfit(name, $"{name} is on {tensor.device}", $"{Device}, the device of this rank, or cpu");
        return tensor.NumberOfElements == 0;
    }

    void RequireParts(Tensor part, string partName, Tensor whole, string wholeName)
    {
        if (whole.NumberOfElements != part.NumberOfElements * Size)
            throw Require.Unfit(partName, $"{partName} has {part.NumberOfElements} elements",
                $"1/{Size} of the {whole.NumberOfElements} of {wholeName}, as there are {Size} ranks");
        if (whole.dtype != part.dtype) throw Require.Refusal(partName, part.dtype, $"{whole.dtype}, the type of {wholeName}");
        if (whole.device_type != part.device_type)
            throw Require.Unfit(partName, $"{partName} is on {part.device}", $"{whole.device}, the device of {wholeName}");
    }

    void RequireRank(int root) => Require.InRange(root >= 0 && root < Size, nameof(root), root, $"a rank from 0 to {Size - 1}");

    /// <summary>Ends the connection. All ranks do this after their last operation.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    private protected virtual void Dispose(bool disposing) { }
}
