using System.Globalization;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Implements the collectives of NCCL for tensors on one GPU per rank, on the current stream of libtorch. Tensors on the CPU go through MPI if the
/// launcher is one of MPI, otherwise through the GPU.
/// </summary>
sealed partial class NcclCollectives : Collectives
{
    readonly NcclLibrary nccl;
    readonly nint communicator;
    readonly NcclWatch watch;
    readonly MpiCollectives? host;
    readonly TimeSpan timeout;
    readonly NcclCollectives? parent;
    readonly Lazy<NcclStream> side;
    nint separate;          // the stream of started operations while they are queued, otherwise 0
    bool grouping, disposed;

    NcclCollectives(NcclLibrary nccl, nint communicator, RankEnvironment environment, Device device, MpiCollectives? host, TimeSpan timeout,
        NcclCollectives? parent = null) : base(environment.Rank, environment.Size, environment.LocalRank, device)
    {
        (this.nccl, this.communicator, this.host, this.timeout, this.parent) = (nccl, communicator, host, timeout, parent);
        // one stream for all groups, so that their operations run in the same order on all ranks
        side = parent?.side ?? new(() => new NcclStream(CudaRuntime.DeviceAt(device.index)));
        watch = new NcclWatch(nccl, communicator, CudaRuntime.DeviceAt(device.index), timeout, $"rank {Rank} of {Size}");
    }

    public override string Library => host is null ? nccl.Version : $"{nccl.Version}, {host.Library}";

    public override TimeSpan Timeout => timeout;

    internal override bool IsFastOnHost => host is not null;

    /// <summary>Joins the other ranks, and waits for them.</summary>
    public static NcclCollectives Connect(RankEnvironment environment, CollectiveOptions options)
    {
        var device = Choose(environment, options.Device!);
        var nccl = NcclLibrary.Load();
        // a process that mpirun has started can exchange the id by MPI; otherwise NCCL itself connects the ranks at the address of rank 0
        var host = environment is { IsMpi: true, Size: > 1 } ? MpiCollectives.Connect(environment, options with { Device = null }) : null;
        try
        {
            byte[] id = host is null ? IdAtAddress(nccl, environment) : IdByMpi(nccl, host);
            nint communicator = ConnectWithin(options.StartTimeout, environment, () =>
            {
                using var guard = LibTorchCuda.On(device.index);
                return nccl.Connect(id, environment.Rank, environment.Size);
            });
            return new(nccl, communicator, environment, device, host, options.Timeout);
        }
        catch
        {
            host?.Abandon();
            throw;
        }
    }

    static Device Choose(RankEnvironment environment, Device asked)
    {
        TorchDevices.EnsureUsable(new Device(DeviceType.CUDA, 0), "device");
        int count = cuda.device_count();
        // a launcher may let each process see only its GPU
        int index = asked.index > 0 ? asked.index : count == 1 ? 0 : environment.LocalRank;
        if (index >= count)
            throw new CollectiveException(Require.Message(
                $"rank {environment.Rank} has the local number {environment.LocalRank}, but the machine has {count} GPUs",
                "at most one rank per GPU"));
        return TorchLibrary.Gpu(index);
    }

    static byte[] IdByMpi(NcclLibrary nccl, MpiCollectives host)
    {
        using var scope = NewDisposeScope();
        var id = tensor(host.IsFirst ? nccl.CreateId() : new byte[NcclLibrary.IdBytes]);
        host.Broadcast(id);
        return TensorMemory.ToArray<byte>(id);
    }

    static byte[] IdAtAddress(NcclLibrary nccl, RankEnvironment environment)
    {
        if (environment.Size > 1)
        {
            if (environment is not { MasterAddress: { } address, MasterPort: { } port })
                throw new CollectiveException(Require.Message(
                    $"{environment.Launcher} has started {environment.Size} processes, but MASTER_ADDR and MASTER_PORT are not both set",
                    "the address and a free port of the machine of rank 0, or a launch by mpirun"));
            if (environment.Rank == 0) RankEnvironment.RequireFreePort(port);
            SetVariable("NCCL_COMM_ID", string.Create(CultureInfo.InvariantCulture, $"{address}:{port}"));
        }
        return nccl.CreateId();
    }

    // .NET's own method does not change what native code reads
    static void SetVariable(string name, string value)
    {
        if (setenv(name, value, 1) != 0) throw new CollectiveException($"the environment variable {name} cannot be set to '{value}'");
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);

    static nint ConnectWithin(TimeSpan limit, RankEnvironment environment, Func<nint> connect)
    {
        nint made = 0;
        ExceptionDispatchInfo? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                made = connect();
            }
            catch (Exception e)
            {
                failure = ExceptionDispatchInfo.Capture(e);
            }
        }) { IsBackground = true, Name = "NCCL start" };
        thread.Start();
        string where = environment.MasterAddress is null ? ""
            : string.Create(CultureInfo.InvariantCulture, $" at {environment.MasterAddress}:{environment.MasterPort}");
        if (!thread.Join(limit))
            throw new CollectiveException(string.Create(CultureInfo.InvariantCulture,
                $"rank {environment.Rank} of {environment.Size} has waited {limit.TotalSeconds:0.#} s for the others at the start{where}; "
                + $"a rank is missing"));
        if (failure?.SourceException is CollectiveException e && where.Length > 0)
            throw new CollectiveException(
                $"{e.Message}; rank {environment.Rank} of {environment.Size} meets the others{where}, which must be free on rank 0", e);
        failure?.Throw();
        return made;
    }

    private protected override Collectives SplitChecked(int group)
    {
        Barrier();
        using var scope = NewDisposeScope();
        var groups = zeros([Size], ScalarType.Int64);
        AllGather(groups, tensor(new[] { (long)group }));
        long[] all = TensorMemory.ToArray<long>(groups);
        int size = all.Count(one => one == group), rank = all.Take(Rank).Count(one => one == group);
        nint made;
        using (LibTorchCuda.On(Device.index)) made = nccl.Split(communicator, group, Rank);
        return new NcclCollectives(nccl, made, new("", rank, size, LocalRank), Device, (MpiCollectives?)host?.Split(group), timeout, this);
    }

    public override void Barrier()
    {
        using var scope = NewDisposeScope();
        var token = zeros([1], ScalarType.Int64, Device);
        AllReduce(token);
        _ = token.item<long>();
        ThrowIfFailed();
        host?.Barrier();
    }

    public override void ThrowIfFailed()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (watch.Failure is { } message) throw new CollectiveException(message);
        host?.ThrowIfFailed();
        parent?.ThrowIfFailed();
    }

    internal override void Abandon()
    {
        watch.Fail($"rank {Rank} of {Size} has failed before; its collectives cannot be used");
        host?.Abandon();
    }

    public override void Group(Action work)
    {
        ArgumentNullException.ThrowIfNull(work);
        if (grouping)
        {
            work();
            return;
        }
        ThrowIfFailed();
        nccl.StartGroup();
        grouping = true;
        try
        {
            work();
        }
        finally
        {
            grouping = false;
            nccl.EndGroup(communicator);
        }
        watch.Issued(Stream);
    }

    nint Stream => separate != 0 ? separate : LibTorchCuda.CurrentStream(Device.index);

    internal override StartedOperations Start(Action work)
    {
        ThrowIfFailed();
        nint after = side.Value.Begin(LibTorchCuda.CurrentStream(Device.index));
        separate = after;
        try
        {
            Group(work);
        }
        finally
        {
            separate = 0;
        }
        nint done = side.Value.End();
        return new(() =>
        {
            ThrowIfFailed();
            side.Value.Wait(LibTorchCuda.CurrentStream(Device.index), done);
        });
    }

    void Issue(Action<nint> work)
    {
        ThrowIfFailed();
        nint stream = Stream;
        work(stream);
        if (!grouping) watch.Issued(stream);
    }

    // a tensor on the CPU, by MPI or through the GPU
    void ThroughGpu(Tensor tensor, Action<Tensor> work)
    {
        if (grouping) throw new InvalidOperationException("a group has a tensor on the CPU; expected tensors on the GPU alone");
        using var scope = NewDisposeScope();
        var copy = tensor.to(Device);
        work(copy);
        tensor.copy_(copy);
        ThrowIfFailed();
    }

    static bool IsOnHost(Tensor tensor) => tensor.device_type == DeviceType.CPU;

    private protected override void AllReduceChecked(Tensor tensor, ReduceOperation operation)
    {
        if (IsOnHost(tensor) && host is not null) host.AllReduce(tensor, operation);
        else if (IsOnHost(tensor)) ThroughGpu(tensor, copy => AllReduceChecked(copy, operation));
        else
            Issue(stream => nccl.AllReduce(
                TensorMemory.Pointer(tensor), tensor.NumberOfElements, tensor.dtype, operation, communicator, stream));
    }

    private protected override void AllReduceChecked(Tensor[] tensors, ReduceOperation operation)
    {
        if (Array.Exists(tensors, IsOnHost))
        {
            foreach (var tensor in tensors) AllReduceChecked(tensor, operation);
            return;
        }
        Group(() =>
        {
            foreach (var tensor in tensors) AllReduceChecked(tensor, operation);
        });
    }

    private protected override void ReduceChecked(Tensor tensor, int root, ReduceOperation operation)
    {
        if (IsOnHost(tensor) && host is not null) host.Reduce(tensor, root, operation);
        else if (IsOnHost(tensor)) ThroughGpu(tensor, copy => ReduceChecked(copy, root, operation));
        else
            Issue(stream => nccl.Reduce(
                TensorMemory.Pointer(tensor), tensor.NumberOfElements, tensor.dtype, operation, root, communicator, stream));
    }

    private protected override void BroadcastChecked(Tensor tensor, int root)
    {
        if (IsOnHost(tensor) && host is not null) host.Broadcast(tensor, root);
        else if (IsOnHost(tensor)) ThroughGpu(tensor, copy => BroadcastChecked(copy, root));
        else Issue(stream => nccl.Broadcast(TensorMemory.Pointer(tensor), tensor.NumberOfElements, tensor.dtype, root, communicator, stream));
    }

    private protected override void ReduceScatterChecked(Tensor output, Tensor input, ReduceOperation operation)
    {
        if (IsOnHost(output) && host is not null) host.ReduceScatter(output, input, operation);
        else if (IsOnHost(output))
        {
            using var scope = NewDisposeScope();
            var whole = input.to(Device);
            ThroughGpu(output, part => ReduceScatterChecked(part, whole, operation));
        }
        else
            Issue(stream => nccl.ReduceScatter(TensorMemory.Pointer(input), TensorMemory.Pointer(output), output.NumberOfElements, output.dtype,
                operation, communicator, stream));
    }

    private protected override void AllGatherChecked(Tensor output, Tensor input)
    {
        if (IsOnHost(output) && host is not null) host.AllGather(output, input);
        else if (IsOnHost(output))
        {
            using var scope = NewDisposeScope();
            var part = input.to(Device);
            ThroughGpu(output, whole => AllGatherChecked(whole, part));
        }
        else
            Issue(stream => nccl.AllGather(
                TensorMemory.Pointer(input), TensorMemory.Pointer(output), input.NumberOfElements, input.dtype, communicator, stream));
    }

    private protected override void Dispose(bool disposing)
    {
        if (disposed) return;
        disposed = true;
        bool failed = watch.Failure is not null;
        watch.Dispose();
        if (!failed) nccl.Destroy(communicator);
        host?.Dispose();
        if (parent is null && side.IsValueCreated) side.Value.Dispose();
    }
}
