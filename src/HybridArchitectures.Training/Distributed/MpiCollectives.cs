using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>The collectives of MPI for tensors on the CPU. Every operation is started without waiting and then tested until a time limit.</summary>
sealed class MpiCollectives : Collectives
{
    // smaller tensors of a list are copied into one message of at most this size
    const long BucketBytes = 16L << 20;

    // MPI counts in 32 bits
    const int MaxCount = 1 << 30;

    // the time in which other ranks reach the end after this one
    static readonly TimeSpan Parting = TimeSpan.FromSeconds(20);

    readonly MpiLibrary mpi;
    readonly TimeSpan timeout;
    string? failure;
    bool disposed;

    MpiCollectives(MpiLibrary mpi, int rank, int size, int localRank, TimeSpan timeout) : base(rank, size, localRank, CPU) =>
        (this.mpi, this.timeout) = (mpi, timeout);

    public override string Library => mpi.Version;

    public override TimeSpan Timeout => timeout;

    /// <summary>Starts MPI, and waits for the other ranks.</summary>
    public static MpiCollectives Connect(RankEnvironment place, CollectiveOptions options)
    {
        TorchLibrary.EnsureLoaded();
        var mpi = MpiLibrary.Load(place.Launcher);
        var (rank, size) = mpi.Start();
        if (size != place.Size)
            throw new CollectiveException(Require.Message(
                $"{place.Launcher} has started {place.Size} processes, but {mpi.Version} connects {size}",
                $"the same number; start the program with the mpirun of this library (mpirun -n {place.Size} PROGRAM)"));
        var made = new MpiCollectives(mpi, rank, size, place.LocalRank, options.Timeout);
        made.Wait(mpi.Barrier(), "the start", options.StartTimeout);
        return made;
    }

    public override void Barrier()
    {
        ThrowIfFailed();
        Wait(mpi.Barrier(), "a barrier", timeout);
    }

    public override void ThrowIfFailed()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (failure is not null) throw new CollectiveException(failure);
    }

    internal override void Abandon() => failure ??= "this rank has failed before; its collectives cannot be used";

    void Wait(nint request, string what, TimeSpan limit)
    {
        long began = Stopwatch.GetTimestamp();
        try
        {
            while (!mpi.IsComplete(ref request))
            {
                // other ranks may need this processor
                Thread.Yield();
                if (Stopwatch.GetElapsedTime(began) > limit)
                    throw new CollectiveException(string.Create(CultureInfo.InvariantCulture,
                        $"rank {Rank} of {Size} has waited {limit.TotalSeconds:0.#} s for the others at {what}; ")
                        + "a rank is missing, hangs or has failed");
            }
        }
        catch (CollectiveException e)
        {
            failure = e.Message;
            throw;
        }
    }

    private protected override void AllReduceChecked(Tensor tensor, ReduceOperation operation)
    {
        ThrowIfFailed();
        using var scope = NewDisposeScope();
        var (wide, type) = Computable(tensor);
        Pieces(wide, (data, count) => Wait(mpi.AllReduce(data, count, type, operation), "an all-reduce", timeout));
        Return(wide, tensor);
    }

    private protected override void AllReduceChecked(Tensor[] tensors, ReduceOperation operation)
    {
        var bucket = new List<Tensor>();
        long bytes = 0;
        foreach (var tensor in tensors)
        {
            long size = tensor.NumberOfElements * tensor.ElementSize;
            if (bucket.Count > 0 && (bytes + size > BucketBytes || tensor.dtype != bucket[0].dtype))
            {
                AllReduceBucket(bucket, operation);
                (bucket, bytes) = ([], 0);
            }
            bucket.Add(tensor);
            bytes += size;
        }
        AllReduceBucket(bucket, operation);
    }

    void AllReduceBucket(List<Tensor> bucket, ReduceOperation operation)
    {
        if (bucket.Count == 1)
        {
            AllReduceChecked(bucket[0], operation);
            return;
        }
        using var scope = NewDisposeScope();
        var joined = cat([.. bucket.Select(tensor => tensor.detach().reshape(-1))]);
        AllReduceChecked(joined, operation);
        long first = 0;
        foreach (var tensor in bucket)
        {
            tensor.copy_(joined.narrow(0, first, tensor.NumberOfElements).view(tensor.shape));
            first += tensor.NumberOfElements;
        }
    }

    private protected override void ReduceChecked(Tensor tensor, int root, ReduceOperation operation)
    {
        ThrowIfFailed();
        using var scope = NewDisposeScope();
        var (wide, type) = Computable(tensor);
        Pieces(wide, (data, count) => Wait(mpi.Reduce(data, count, type, operation, root, Rank == root), "a reduction", timeout));
        if (Rank == root) Return(wide, tensor);
    }

    private protected override void ReduceScatterChecked(Tensor output, Tensor input, ReduceOperation operation)
    {
        ThrowIfFailed();
        using var scope = NewDisposeScope();
        var (whole, type) = Computable(input);
        var (part, _) = Computable(output);
        int count = Count(part);
        Wait(mpi.ReduceScatter(TensorMemory.Pointer(whole), TensorMemory.Pointer(part), count, type, operation), "a reduce-scatter", timeout);
        GC.KeepAlive(whole);
        Return(part, output);
    }

    private protected override void AllGatherChecked(Tensor output, Tensor input)
    {
        ThrowIfFailed();
        Wait(mpi.AllGather(TensorMemory.Pointer(input), TensorMemory.Pointer(output), Count(input), Plain(input)), "an all-gather", timeout);
        GC.KeepAlive(input);
        GC.KeepAlive(output);
    }

    private protected override void BroadcastChecked(Tensor tensor, int root)
    {
        ThrowIfFailed();
        nint type = Plain(tensor);
        Pieces(tensor, (data, count) => Wait(mpi.Broadcast(data, count, type, root), "a broadcast", timeout));
    }

    // MPI has no bfloat16
    (Tensor Value, nint Type) Computable(Tensor tensor) => tensor.dtype switch
    {
        ScalarType.BFloat16 => (tensor.to(ScalarType.Float32), mpi.Float32),
        ScalarType.Float32 => (tensor, mpi.Float32),
        ScalarType.Float64 => (tensor, mpi.Float64),
        _ => (tensor, mpi.Int64),
    };

    static void Return(Tensor wide, Tensor tensor)
    {
        if (!ReferenceEquals(wide, tensor)) tensor.copy_(wide);
    }

    nint Plain(Tensor tensor) => tensor.ElementSize switch { 1 => mpi.Byte, 2 => mpi.TwoBytes, 4 => mpi.Float32, _ => mpi.Int64 };

    int Count(Tensor part) => part.NumberOfElements <= MaxCount ? (int)part.NumberOfElements
        : throw Require.Unfit(null, $"the part of a rank has {part.NumberOfElements} elements", $"at most {MaxCount}; divide the tensor");

    static void Pieces(Tensor tensor, Action<nint, int> work)
    {
        nint data = TensorMemory.Pointer(tensor);
        for (long first = 0; first < tensor.NumberOfElements; first += MaxCount)
            work(data + (nint)(first * tensor.ElementSize), (int)Math.Min(MaxCount, tensor.NumberOfElements - first));
        GC.KeepAlive(tensor);
    }

    private protected override void Dispose(bool disposing)
    {
        if (disposed) return;
        if (failure is null)
        {
            try
            {
                // MPI_Finalize waits without a limit
                Wait(mpi.Barrier(), "the end", Parting);
                mpi.End();
            }
            catch (CollectiveException)
            {
                // a rank has failed, and MPI is not ended: the launcher then ends all ranks
            }
        }
        disposed = true;
    }
}
