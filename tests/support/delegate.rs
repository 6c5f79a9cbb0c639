//! The calls of a store that a test's store passes on to the one behind it, so that the test shows only those that it changes. Shared by the tests of
//! all crates.

/// Writes methods of an `impl ObjectStore` that call the same method of a part of `self`, as in `delegate_to!([inner] list, copy_opts);`.
macro_rules! delegate_to {
    (@put_opts [$($inner:tt)+]) => {
        fn put_opts<'a, 'b, 'c>(
            &'a self,
            location: &'b ::object_store::path::Path,
            payload: ::object_store::PutPayload,
            options: ::object_store::PutOptions,
        ) -> ::futures_util::future::BoxFuture<'c, ::object_store::Result<::object_store::PutResult>>
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            self.$($inner)+.put_opts(location, payload, options)
        }
    };
    (@put_multipart_opts [$($inner:tt)+]) => {
        fn put_multipart_opts<'a, 'b, 'c>(
            &'a self,
            location: &'b ::object_store::path::Path,
            options: ::object_store::PutMultipartOptions,
        ) -> ::futures_util::future::BoxFuture<
            'c,
            ::object_store::Result<Box<dyn ::object_store::MultipartUpload>>,
        >
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            self.$($inner)+.put_multipart_opts(location, options)
        }
    };
    (@get_opts [$($inner:tt)+]) => {
        fn get_opts<'a, 'b, 'c>(
            &'a self,
            location: &'b ::object_store::path::Path,
            options: ::object_store::GetOptions,
        ) -> ::futures_util::future::BoxFuture<'c, ::object_store::Result<::object_store::GetResult>>
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            self.$($inner)+.get_opts(location, options)
        }
    };
    (@delete_stream [$($inner:tt)+]) => {
        fn delete_stream(
            &self,
            locations: ::futures_util::stream::BoxStream<
                'static,
                ::object_store::Result<::object_store::path::Path>,
            >,
        ) -> ::futures_util::stream::BoxStream<
            'static,
            ::object_store::Result<::object_store::path::Path>,
        > {
            self.$($inner)+.delete_stream(locations)
        }
    };
    (@list [$($inner:tt)+]) => {
        fn list(
            &self,
            prefix: Option<&::object_store::path::Path>,
        ) -> ::futures_util::stream::BoxStream<
            'static,
            ::object_store::Result<::object_store::ObjectMeta>,
        > {
            self.$($inner)+.list(prefix)
        }
    };
    (@list_with_delimiter [$($inner:tt)+]) => {
        fn list_with_delimiter<'a, 'b, 'c>(
            &'a self,
            prefix: Option<&'b ::object_store::path::Path>,
        ) -> ::futures_util::future::BoxFuture<'c, ::object_store::Result<::object_store::ListResult>>
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            self.$($inner)+.list_with_delimiter(prefix)
        }
    };
    (@copy_opts [$($inner:tt)+]) => {
        fn copy_opts<'a, 'b, 'c, 'd>(
            &'a self,
            from: &'b ::object_store::path::Path,
            to: &'c ::object_store::path::Path,
            options: ::object_store::CopyOptions,
        ) -> ::futures_util::future::BoxFuture<'d, ::object_store::Result<()>>
        where
            'a: 'd,
            'b: 'd,
            'c: 'd,
            Self: 'd,
        {
            self.$($inner)+.copy_opts(from, to, options)
        }
    };
    ($inner:tt $($method:ident),+ $(,)?) => {
        $(delegate_to!(@$method $inner);)+
    };
}

pub(crate) use delegate_to;
