using System.Runtime.InteropServices;
using System.Text;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Compiles CUDA C++ with NVRTC, which is part of every CUDA build of libtorch.</summary>
sealed unsafe class CudaCompiler
{
    readonly delegate* unmanaged<int, byte*> getErrorString;
    readonly delegate* unmanaged<nint*, byte*, byte*, int, byte**, byte**, int> createProgram;
    readonly delegate* unmanaged<nint*, int> destroyProgram;
    readonly delegate* unmanaged<nint, int, byte**, int> compileProgram;
    readonly delegate* unmanaged<nint, nuint*, int> getLogSize, getImageSize;
    readonly delegate* unmanaged<nint, byte*, int> getLog, getImage;

    public CudaCompiler(nint library)
    {
        nint Export(string name) => NativeLibrary.GetExport(library, name);
        getErrorString = (delegate* unmanaged<int, byte*>)Export("nvrtcGetErrorString");
        createProgram = (delegate* unmanaged<nint*, byte*, byte*, int, byte**, byte**, int>)Export("nvrtcCreateProgram");
        destroyProgram = (delegate* unmanaged<nint*, int>)Export("nvrtcDestroyProgram");
        compileProgram = (delegate* unmanaged<nint, int, byte**, int>)Export("nvrtcCompileProgram");
        getLogSize = (delegate* unmanaged<nint, nuint*, int>)Export("nvrtcGetProgramLogSize");
        getLog = (delegate* unmanaged<nint, byte*, int>)Export("nvrtcGetProgramLog");
        getImageSize = (delegate* unmanaged<nint, nuint*, int>)Export("nvrtcGetCUBINSize");
        getImage = (delegate* unmanaged<nint, byte*, int>)Export("nvrtcGetCUBIN");
        int major, minor;
        Check(((delegate* unmanaged<int*, int*, int>)Export("nvrtcVersion"))(&major, &minor), "nvrtcVersion");
        Version = $"{major}.{minor}";
    }

    public string Version { get; }

    /// <summary>Compiles a source and the headers that it includes to an image for the driver.</summary>
    /// <exception cref="CudaException">The source does not compile. The message is the log of the compiler with line numbers.</exception>
    public byte[] Compile(CudaSource source, IReadOnlyList<string> options)
    {
        using var texts = new Utf8Texts();
        byte** headers = texts.Array(source.Headers.Select(header => header.Text)), names = texts.Array(source.Headers.Select(header => header.Name));
        nint handle;
        Check(createProgram(&handle, texts.Pointer(source.Text), texts.Pointer(source.Name), source.Headers.Count, headers, names),
            "nvrtcCreateProgram");
        using var program = new Program(this, handle);
        int code = compileProgram(handle, options.Count, texts.Array(options));
        if (code != 0)
            throw new CudaException($"{source.Name} does not compile ({Error(code)}; NVRTC {Version}, {string.Join(' ', options)}):\n{Log(handle)}");
        nuint size;
        Check(getImageSize(handle, &size), "nvrtcGetCUBINSize");
        var image = new byte[size];
        fixed (byte* bytes = image) Check(getImage(handle, bytes), "nvrtcGetCUBIN");
        return image;
    }

    string Log(nint program)
    {
        nuint size;
        Check(getLogSize(program, &size), "nvrtcGetProgramLogSize");
        var log = new byte[size];
        fixed (byte* bytes = log) Check(getLog(program, bytes), "nvrtcGetProgramLog");
        return Encoding.UTF8.GetString(log).TrimEnd('\0');
    }

    string Error(int code) => Marshal.PtrToStringUTF8((nint)getErrorString(code)) ?? $"{code}";

    void Check(int code, string what)
    {
        if (code != 0) throw new CudaException($"NVRTC: {what} failed: {Error(code)}");
    }

    sealed class Program : SafeHandle
    {
        readonly CudaCompiler compiler;

        public Program(CudaCompiler compiler, nint handle) : base(0, true)
        {
            this.compiler = compiler;
            SetHandle(handle);
        }

        public override bool IsInvalid => handle == 0;

        protected override bool ReleaseHandle()
        {
            nint program = handle;
            return compiler.destroyProgram(&program) == 0;
        }
    }

    // zero-terminated texts that live as long as this object
    sealed class Utf8Texts : IDisposable
    {
        readonly List<nint> blocks = [];

        public byte* Pointer(string text)
        {
            blocks.Add(Marshal.StringToCoTaskMemUTF8(text));
            return (byte*)blocks[^1];
        }

        public byte** Array(IEnumerable<string> texts)
        {
            var pointers = texts.Select(text => (nint)Pointer(text)).ToArray();
            blocks.Add(Marshal.AllocCoTaskMem(Math.Max(1, pointers.Length) * sizeof(nint)));
            Marshal.Copy(pointers, 0, blocks[^1], pointers.Length);
            return (byte**)blocks[^1];
        }

        public void Dispose() => blocks.ForEach(Marshal.FreeCoTaskMem);
    }
}
